/* summary.c - reads a recording of the experiment into figures and judges them. What the load counted while it ran is
 * counted here again from single events; nothing is taken over from its own report. The file may come from anybody: numbers
 * are bounded before they are used as sizes, and what is missing is an error with a sentence. */
#include "summary.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGES_MAX UINT64_C(100000000)
#define LONGEST_NS (UINT64_C(100000) * ROAM_S)

/* What reading needs beside the figures. */
struct tally {
  uint8_t *seen;
  roam_hist *latency;
  uint64_t last_ns;     /* when the running pause began */
  uint32_t connects[2]; /* of publisher, subscriber */
};

struct reading {
  roam_summary *s;
  struct tally tallies[ROAM_SUMMARY_ROWS_MAX];
  uint64_t start; /* the recording's time of message 0 */
  bool has_demo, has_start;
  char *why;
};

/* ---- fields ---------------------------------------------------------------------------------------------------------- */

static uint64_t number_of(const roam_record *r, const char *name, uint64_t otherwise) {
  const roam_field *f = roam_record_field(r, name);
  return f && (f->type == ROAM_FIELD_UINT || f->type == ROAM_FIELD_BOOL) ? f->number : otherwise;
}

/* Short words only; what a terminal would obey becomes a question mark. */
static void text_of(const roam_record *r, const char *name, char out[ROAM_SUMMARY_TEXT_MAX]) {
  const roam_field *f = roam_record_field(r, name);
  strcpy(out, "-");
  if (!f || f->type != ROAM_FIELD_TEXT || f->bytes.len == 0 || f->bytes.len >= ROAM_SUMMARY_TEXT_MAX) return;
  for (size_t i = 0; i < f->bytes.len; i++)
    out[i] = f->bytes.base[i] < 0x20 || f->bytes.base[i] > 0x7e ? '?' : (char)f->bytes.base[i];
  out[f->bytes.len] = 0;
}

static bool is_kind(const roam_record *r, const char *kind) { return strcmp(r->kind, kind) == 0; }

static uint64_t since_start(const struct reading *x, const roam_record *r) {
  return r->at > x->start ? r->at - x->start : 0;
}

static uint64_t offset_of(const roam_summary *s, uint64_t n) {
  return n / s->rate_per_s * ROAM_S + n % s->rate_per_s * ROAM_S / s->rate_per_s;
}

/* ---- single events --------------------------------------------------------------------------------------------------- */

static bool refuse(struct reading *x, const char *sentence) {
  snprintf(x->why, ROAM_WHY_MAX, "%s", sentence);
  return false;
}

static bool read_demo(struct reading *x, const roam_record *r) {
  roam_summary *s = x->s;
  text_of(r, "version", s->version);
  text_of(r, "home", s->home);
  text_of(r, "away", s->away);
  s->duration_ns = number_of(r, "duration_ns", 0);
  s->rtt_ns = number_of(r, "rtt_ns", 0);
  s->rebind_ns = number_of(r, "rebind_ns", ROAM_NEVER);
  s->return_ns = number_of(r, "return_ns", ROAM_NEVER);
  s->follow_paths = number_of(r, "follow_paths", 1);
  x->has_demo = true;
  return s->rtt_ns <= LONGEST_NS && s->duration_ns <= LONGEST_NS ? true : refuse(x, "a time in it is out of bounds");
}

static bool read_row(struct reading *x, const roam_record *r) {
  if (r->row != x->s->rows_len || r->row >= ROAM_SUMMARY_ROWS_MAX)
    return refuse(x, "its rows are not numbered from 0 to 15");
  roam_summary_row *row = &x->s->rows[x->s->rows_len++];
  text_of(r, "name", row->name);
  for (size_t i = 0; i < 3; i++) strcpy(row->addresses[i], "-");
  return true;
}

/* Narrow, so that a short stall shows, but with a whole planned number of messages, so that a steady rate is a straight
 * line. */
static uint64_t choose_bin(uint64_t rate_per_s, uint64_t span_ns) {
  static const uint64_t widths_ms[] = {100, 200, 250, 500, 1000};
  uint64_t bin_ms = 250;
  for (size_t i = 0; i < sizeof widths_ms / sizeof widths_ms[0]; i++) {
    uint64_t messages = rate_per_s * widths_ms[i];
    if (messages % 1000 != 0 || messages < 4000) continue;
    bin_ms = widths_ms[i];
    break;
  }
  while (span_ns / (bin_ms * ROAM_MS) + 1 > ROAM_SUMMARY_BINS_MAX) bin_ms *= 2;
  return bin_ms * ROAM_MS;
}

static bool make_tallies(struct reading *x) {
  roam_summary *s = x->s;
  for (size_t i = 0; i < s->rows_len; i++) {
    x->tallies[i].seen = calloc(1, (size_t)(s->count / 8 + 1));
    x->tallies[i].latency = roam_hist_new();
    s->rows[i].bins = calloc(s->bins_len, sizeof *s->rows[i].bins);
    if (!x->tallies[i].seen || !x->tallies[i].latency || !s->rows[i].bins) return refuse(x, "out of memory");
  }
  return true;
}

static bool read_start(struct reading *x, const roam_record *r) {
  roam_summary *s = x->s;
  if (x->has_start) return refuse(x, "it starts twice");
  s->rate_per_s = number_of(r, "rate_per_s", 0);
  s->count = number_of(r, "count", 0);
  s->payload_bytes = number_of(r, "payload_bytes", 0);
  s->qos = number_of(r, "qos", 0);
  s->last_ns = number_of(r, "last_ns", 0);
  s->settle_ns = number_of(r, "settle_ns", 0);
  if (s->rate_per_s == 0 || s->rate_per_s > 1000000 || s->count == 0 || s->count > MESSAGES_MAX ||
      s->last_ns > LONGEST_NS || s->settle_ns > LONGEST_NS) {
    return refuse(x, "its plan is out of bounds");
  }
  s->bin_ns = choose_bin(s->rate_per_s, s->last_ns + s->settle_ns);
  s->bins_len = (size_t)((s->last_ns + s->settle_ns) / s->bin_ns + 1);
  x->start = r->at;
  x->has_start = true;
  return make_tallies(x);
}

static void end_pause(roam_summary_row *row, struct tally *t, uint64_t at_ns, uint64_t window_ns) {
  if (at_ns > window_ns) at_ns = window_ns;
  if (at_ns <= t->last_ns) return;
  if (at_ns - t->last_ns > row->gap_ns) row->gap_ns = at_ns - t->last_ns;
  t->last_ns = at_ns;
}

/* Was this message planned for a time when, without reconnecting, it could not have come? */
static bool is_after_change(const roam_summary *s, uint64_t n) {
  return s->changes_len > 0 && offset_of(s, n) > s->changes[0].at_ns + ROAM_S / s->rate_per_s;
}

static void read_delivery(struct reading *x, const roam_record *r) {
  roam_summary *s = x->s;
  roam_summary_row *row = &s->rows[r->row];
  struct tally *t = &x->tallies[r->row];
  uint64_t n = number_of(r, "n", UINT64_MAX), at_ns = since_start(x, r), bin = at_ns / s->bin_ns;
  if (n >= s->count) {
    row->corrupt++;
  } else if (t->seen[n / 8] & (1u << (n & 7))) {
    row->duplicated++;
  } else {
    t->seen[n / 8] |= (uint8_t)(1u << (n & 7));
    row->received++;
    if (bin < s->bins_len) row->bins[bin]++;
    if (is_after_change(s, n)) row->after_change++;
    roam_hist_add(t->latency, number_of(r, "latency_ns", 0));
    end_pause(row, t, at_ns, s->last_ns);
  }
}

static void read_offer(struct reading *x, const roam_record *r) {
  roam_summary_row *row = &x->s->rows[r->row];
  row->published++;
  if (roam_record_field(r, "rc")) row->refused++;
}

static void read_connected(struct reading *x, const roam_record *r) {
  char side[ROAM_SUMMARY_TEXT_MAX];
  text_of(r, "side", side);
  if (x->tallies[r->row].connects[strcmp(side, "publisher") != 0]++) x->s->rows[r->row].reconnects++;
}

static void read_peer(struct reading *x, const roam_record *r) {
  uint64_t phase = number_of(r, "phase", 3);
  if (phase < 3) text_of(r, "address", x->s->rows[r->row].addresses[phase]);
}

static void read_change(struct reading *x, const roam_record *r) {
  if (x->s->changes_len == ROAM_SUMMARY_CHANGES_MAX) return;
  roam_summary_change *change = &x->s->changes[x->s->changes_len++];
  change->at_ns = since_start(x, r);
  text_of(r, "from", change->from);
  text_of(r, "to", change->to);
}

static bool read_row_event(struct reading *x, const roam_record *r) {
  if (r->row >= x->s->rows_len) return r->row == ROAM_RECORD_NO_ROW ? true : refuse(x, "an event in it belongs to no row");
  if (is_kind(r, "connected")) read_connected(x, r);
  else if (is_kind(r, "peer")) read_peer(x, r);
  else if (is_kind(r, "connects")) x->s->rows[r->row].connects = number_of(r, "connects", 0);
  else if (is_kind(r, "path-migrated")) x->s->rows[r->row].migrations++;
  if (!x->has_start) return true;
  if (is_kind(r, "offered")) read_offer(x, r);
  else if (is_kind(r, "delivered")) read_delivery(x, r);
  else if (is_kind(r, "duplicate")) x->s->rows[r->row].duplicated++;
  else if (is_kind(r, "corrupt")) x->s->rows[r->row].corrupt++;
  return true;
}

static bool read_event(struct reading *x, const roam_record *r) {
  if (is_kind(r, "demo")) return read_demo(x, r);
  if (is_kind(r, "row")) return x->has_start ? refuse(x, "a row comes after its start") : read_row(x, r);
  if (is_kind(r, "start")) return read_start(x, r);
  if (is_kind(r, "change")) read_change(x, r);
  if (is_kind(r, "done")) x->s->complete = true;
  if (is_kind(r, "end")) {
    x->s->interrupted = number_of(r, "interrupted", 0);
    x->s->dropped = number_of(r, "dropped", 0);
  }
  return read_row_event(x, r);
}

/* ---- judging --------------------------------------------------------------------------------------------------------- */

static void check(roam_summary *s, bool met, const char *sentence, const char *name, uint64_t n) {
  if (s->checks_len == ROAM_SUMMARY_CHECKS_MAX) return;
  roam_summary_check *c = &s->checks[s->checks_len++];
  c->met = met;
  snprintf(c->sentence, sizeof c->sentence, sentence, name, n);
}

static bool same_ip(const char *a, const char *b) {
  roam_addr x, y;
  return roam_addr_parse(a, &x) == 0 && roam_addr_parse(b, &y) == 0 && roam_addr_same_ip(&x, &y);
}

static void check_addresses(roam_summary *s, const roam_summary_row *row) {
  const char *expected[3] = {s->home, s->away, s->return_ns == ROAM_NEVER ? s->away : s->home};
  bool met = true;
  for (size_t i = 0; i < 3; i++) met = met && same_ip(row->addresses[i], expected[i]);
  char names[256];
  snprintf(names, sizeof names, "%s: the broker showed %s -> %s -> %s", row->name, expected[0], expected[1], expected[2]);
  check(s, met, "%s", names, 0);
}

static void check_row(roam_summary *s, const roam_summary_row *row) {
  bool quic = strncmp(row->name, "quic-", 5) == 0, changed = s->rebind_ns != ROAM_NEVER;
  if (quic || !changed) {
    check(s, row->lost == 0, "%s lost nothing (lost %" PRIu64 ")", row->name, row->lost);
    check(s, row->reconnects == 0, "%s did not reconnect (reconnects %" PRIu64 ")", row->name, row->reconnects);
  }
  if (quic && changed) check_addresses(s, row);
  if (strcmp(row->name, "tcp") == 0 && changed) {
    check(s, row->lost > 0 && row->after_change == 0,
          "%s broke at the address change (%" PRIu64 " messages from after it came)", row->name, row->after_change);
  }
}

static void judge(roam_summary *s) {
  check(s, s->complete && !s->interrupted, "%s", "the run came to its end", 0);
  check(s, s->dropped == 0, "%s (%" PRIu64 " events are missing)", "the recording is whole", s->dropped);
  for (size_t i = 0; i < s->rows_len; i++) check_row(s, &s->rows[i]);
}

const roam_summary_check *roam_summary_failed(const roam_summary *s) {
  for (size_t i = 0; i < s->checks_len; i++)
    if (!s->checks[i].met) return &s->checks[i];
  return NULL;
}

/* Only what crosses a NAT has a round trip to wait for. */
static uint64_t gap_bound(const roam_summary *s, const roam_summary_row *row) {
  if (strncmp(row->name, "quic-", 5) != 0) return 0;
  uint64_t rtt_ns = strcmp(row->name, "quic-active") == 0 ? 0 : s->rtt_ns;
  return 2 * rtt_ns + 2 * ROAM_S / s->rate_per_s + 50 * ROAM_MS;
}

static void finish_row(struct reading *x, size_t i) {
  roam_summary_row *row = &x->s->rows[i];
  struct tally *t = &x->tallies[i];
  end_pause(row, t, x->s->last_ns, x->s->last_ns);
  row->lost = row->published > row->received ? row->published - row->received : 0;
  row->latency_p50_ns = roam_hist_quantile(t->latency, 500000);
  row->latency_p99_ns = roam_hist_quantile(t->latency, 990000);
  row->latency_max_ns = roam_hist_max(t->latency);
  row->gap_bound_ns = gap_bound(x->s, row);
}

/* ---- the whole ------------------------------------------------------------------------------------------------------- */

static bool read_all(struct reading *x, roam_bytes recording) {
  roam_record_reader *reader = roam_record_reader_new(recording);
  if (!reader) return refuse(x, "out of memory");
  roam_record record;
  uint64_t items = 0;
  bool good = true;
  int got = 0;
  while (good && (got = roam_record_next(reader, &record)) == 1) {
    good = read_event(x, &record);
    items++;
  }
  roam_record_reader_free(reader);
  if (!good) return false;
  if (got < 0) {
    snprintf(x->why, ROAM_WHY_MAX, "item %" PRIu64 " is malformed: the recording is cut, or the file is none", items + 1);
    return false;
  }
  if (!x->has_demo) return refuse(x, "it is not a recording of roamqtt demo");
  return x->has_start ? true : refuse(x, "the run it records never started");
}

roam_summary *roam_summary_read(roam_bytes recording, char why[ROAM_WHY_MAX]) {
  struct reading x = {.s = calloc(1, sizeof *x.s), .why = why};
  if (!x.s) {
    snprintf(why, ROAM_WHY_MAX, "out of memory");
    return NULL;
  }
  bool good = read_all(&x, recording);
  for (size_t i = 0; good && i < x.s->rows_len; i++) finish_row(&x, i);
  for (size_t i = 0; i < ROAM_SUMMARY_ROWS_MAX; i++) {
    free(x.tallies[i].seen);
    roam_hist_free(x.tallies[i].latency);
  }
  if (good) {
    judge(x.s);
    return x.s;
  }
  roam_summary_free(x.s);
  return NULL;
}

void roam_summary_free(roam_summary *s) {
  if (!s) return;
  for (size_t i = 0; i < s->rows_len; i++) free(s->rows[i].bins);
  free(s);
}

/* summary_text.c - figures as a table for people and as JSON for programs, and both to where they are wanted. Refuses to
 * reckon: summary.c has the figures. */
#include "plot.h"
#include "summary.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char *roam_ms_text(uint64_t ns, char text[32]) {
  uint64_t tenths = ns / 100000 + (ns % 100000 >= 50000);
  snprintf(text, 32, "%" PRIu64 ".%" PRIu64, tenths / 10, tenths % 10);
  return text;
}

/* Seconds as short as they can be said: "5", "1.5". */
static const char *seconds_text(uint64_t ns, char text[32]) {
  int len = snprintf(text, 32, "%" PRIu64 ".%03" PRIu64, ns / ROAM_S, ns % ROAM_S / ROAM_MS);
  while (text[len - 1] == '0') text[--len] = 0;
  if (text[len - 1] == '.') text[len - 1] = 0;
  return text;
}

/* The address without its port. */
static const char *bare(const char *address, char text[ROAM_ADDR_TEXT_MAX]) {
  roam_addr addr;
  if (roam_addr_parse(address, &addr)) return "-";
  addr.port = 0;
  return roam_addr_format(&addr, text);
}

static void print_head(const roam_summary *s, FILE *to) {
  char a[32], b[32];
  fprintf(to,
          "%s s at %" PRIu64 " messages/s in each row, %" PRIu64 " bytes, QoS %" PRIu64
          "; %s ms round trip through each NAT\n",
          seconds_text(s->duration_ns, a), s->rate_per_s, s->payload_bytes, s->qos, roam_ms_text(s->rtt_ns, b));
  for (size_t i = 0; i < s->changes_len; i++) {
    fprintf(to, "at %s s the publishers' address became %s instead of %s\n", seconds_text(s->changes[i].at_ns, a),
            s->changes[i].to, s->changes[i].from);
  }
  fprintf(to, "\n%-14s %10s %10s %8s %11s %14s %11s %9s  %s\n", "row", "published", "received", "lost", "duplicated",
          "longest gap", "reconnects", "CONNECTs", "peer address before -> during -> after");
}

static void print_row(const roam_summary_row *row, FILE *to) {
  char gap[32], a[ROAM_ADDR_TEXT_MAX], b[ROAM_ADDR_TEXT_MAX], c[ROAM_ADDR_TEXT_MAX];
  fprintf(
      to,
      "%-14s %10" PRIu64 " %10" PRIu64 " %8" PRIu64 " %11" PRIu64 " %11s ms %11" PRIu64 " %9" PRIu64 "  %s -> %s -> %s\n",
      row->name, row->published, row->received, row->lost, row->duplicated, roam_ms_text(row->gap_ns, gap), row->reconnects,
      row->connects, bare(row->addresses[0], a), bare(row->addresses[1], b), bare(row->addresses[2], c));
}

static void print_notes(const roam_summary *s, FILE *to) {
  char gap[32], bound[32];
  fprintf(to,
          "\nlost: not there %" PRIu64
          " ms after the last was offered. CONNECTs: CONNECT packets the broker had to handle, publisher and\n"
          "subscriber together. peer address: of the publisher, from the broker's own snapshots.\n",
          s->settle_ns / ROAM_MS);
  for (size_t i = 0; i < s->rows_len; i++) {
    const roam_summary_row *row = &s->rows[i];
    if (!row->gap_bound_ns) continue;
    fprintf(to, "%s: longest gap %s ms; 2 round trips, 2 publish intervals and 50 ms are %s ms%s\n", row->name,
            roam_ms_text(row->gap_ns, gap), roam_ms_text(row->gap_bound_ns, bound),
            row->gap_ns <= row->gap_bound_ns ? "" : " (exceeded)");
  }
  fprintf(
      to,
      "Everything ran in one process over loopback; the NATs are relays in it, and quic-active has none, hence no delay. "
      "Row tcp\n"
      "has neither reconnect nor offline queue; tcp-reconnect has both and is the fair baseline to compare QUIC with.\n");
}

static void print_verdict(const roam_summary *s, FILE *to) {
  const roam_summary_check *failed = roam_summary_failed(s);
  if (failed) {
    fprintf(to, "\nNOT as expected. This did not come true:\n");
    for (size_t i = 0; i < s->checks_len; i++)
      if (!s->checks[i].met) fprintf(to, "  %s\n", s->checks[i].sentence);
  } else if (s->rebind_ns == ROAM_NEVER) {
    fprintf(to, "\nAs expected: no address change: nothing broke.\n");
  } else {
    fprintf(
        to,
        "\nAs expected: the address changed, QUIC lost nothing and did not reconnect, TCP without reconnect stopped.\n");
  }
}

void roam_summary_print(const roam_summary *s, FILE *to) {
  print_head(s, to);
  for (size_t i = 0; i < s->rows_len; i++) print_row(&s->rows[i], to);
  print_notes(s, to);
  print_verdict(s, to);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------ */

static void put_string(FILE *to, const char *text) {
  char out[1024];
  roam_json_string(out, sizeof out, (roam_bytes){(const uint8_t *)text, strlen(text)});
  fputs(out, to);
}

static void put_number(FILE *to, const char *name, uint64_t value) { fprintf(to, "\"%s\": %" PRIu64 ", ", name, value); }

/* A time in milliseconds, exact to the microsecond; null for never. */
static void put_ms(FILE *to, const char *name, uint64_t ns) {
  if (ns == ROAM_NEVER) fprintf(to, "\"%s\": null, ", name);
  else fprintf(to, "\"%s\": %" PRIu64 ".%03" PRIu64 ", ", name, ns / ROAM_MS, ns % ROAM_MS / ROAM_US);
}

static void put_options(const roam_summary *s, FILE *to) {
  fprintf(to, "  \"options\": {");
  put_number(to, "rate_per_s", s->rate_per_s);
  put_ms(to, "duration_ms", s->duration_ns);
  put_number(to, "qos", s->qos);
  put_number(to, "payload_bytes", s->payload_bytes);
  put_ms(to, "rtt_ms", s->rtt_ns);
  put_ms(to, "rebind_at_ms", s->rebind_ns);
  put_ms(to, "return_at_ms", s->return_ns);
  put_ms(to, "settle_ms", s->settle_ns);
  fprintf(to, "\"follow_paths\": %s},\n", s->follow_paths ? "true" : "false");
}

static void put_changes(const roam_summary *s, FILE *to) {
  fprintf(to, "  \"changes\": [");
  for (size_t i = 0; i < s->changes_len; i++) {
    fprintf(to, "%s{", i ? ", " : "");
    put_ms(to, "at_ms", s->changes[i].at_ns);
    fprintf(to, "\"from\": ");
    put_string(to, s->changes[i].from);
    fprintf(to, ", \"to\": ");
    put_string(to, s->changes[i].to);
    fprintf(to, "}");
  }
  fprintf(to, "],\n");
}

static void put_row(const roam_summary *s, const roam_summary_row *row, FILE *to) {
  fprintf(to, "    {\"name\": ");
  put_string(to, row->name);
  fprintf(to, ", ");
  put_number(to, "published", row->published);
  put_number(to, "received", row->received);
  put_number(to, "lost", row->lost);
  put_number(to, "duplicated", row->duplicated);
  put_ms(to, "gap_ms", row->gap_ns);
  put_number(to, "reconnects", row->reconnects);
  put_number(to, "connects", row->connects);
  fprintf(to, "\"peer_addresses\": [");
  for (size_t i = 0; i < 3; i++) {
    fprintf(to, "%s", i ? ", " : "");
    put_string(to, row->addresses[i]);
  }
  fprintf(to, "],\n     ");
  put_ms(to, "gap_bound_ms", row->gap_bound_ns ? row->gap_bound_ns : ROAM_NEVER);
  put_number(to, "migrations", row->migrations);
  put_number(to, "refused", row->refused);
  put_number(to, "corrupt", row->corrupt);
  put_ms(to, "latency_p50_ms", row->latency_p50_ns);
  put_ms(to, "latency_p99_ms", row->latency_p99_ns);
  put_ms(to, "latency_max_ms", row->latency_max_ns);
  fprintf(to, "\n     \"delivered\": [");
  for (size_t i = 0; i < s->bins_len; i++) fprintf(to, "%s%" PRIu32, i ? "," : "", row->bins[i]);
  fprintf(to, "]}");
}

static void put_checks(const roam_summary *s, FILE *to) {
  fprintf(to, "  \"expectations\": [\n");
  for (size_t i = 0; i < s->checks_len; i++) {
    fprintf(to, "    {\"sentence\": ");
    put_string(to, s->checks[i].sentence);
    fprintf(to, ", \"met\": %s}%s\n", s->checks[i].met ? "true" : "false", i + 1 < s->checks_len ? "," : "");
  }
  fprintf(to, "  ],\n  \"as_expected\": %s\n}\n", roam_summary_failed(s) ? "false" : "true");
}

void roam_summary_print_json(const roam_summary *s, FILE *to) {
  fprintf(to, "{\n  \"version\": ");
  put_string(to, s->version);
  fprintf(to, ",\n");
  put_options(s, to);
  put_changes(s, to);
  fprintf(to, "  ");
  put_ms(to, "bin_ms", s->bin_ns);
  fprintf(to, "\n  \"rows\": [\n");
  for (size_t i = 0; i < s->rows_len; i++) {
    put_row(s, &s->rows[i], to);
    fprintf(to, "%s\n", i + 1 < s->rows_len ? "," : "");
  }
  fprintf(to, "  ],\n");
  put_checks(s, to);
}

/* ---- delivering ------------------------------------------------------------------------------------------------------ */

char *roam_summary_text(const roam_summary *s, bool json, size_t *len) {
  char *text = NULL;
  FILE *to = open_memstream(&text, len);
  if (!to) return NULL;
  if (json) roam_summary_print_json(s, to);
  else roam_summary_print(s, to);
  bool failed = ferror(to) != 0;
  if (fclose(to) == 0 && !failed) return text;
  free(text);
  return NULL;
}

static int deliver_json(const roam_summary *s, const char *command, const char *path) {
  char why[ROAM_WHY_MAX];
  size_t len;
  if (strcmp(path, "-") == 0) {
    roam_summary_print_json(s, stdout);
    return 0;
  }
  char *text = roam_summary_text(s, true, &len);
  if (!text) return roam_tool_fail(command, ROAM_EXIT_USAGE, "out of memory");
  roam_rc rc = roam_file_write(path, text, len, 0644, why);
  free(text);
  if (rc) return roam_tool_fail(command, ROAM_EXIT_USAGE, "--json: %s", why);
  fprintf(stderr, "figures: %s\n", path);
  return 0;
}

static int deliver_plot(const roam_summary *s, const char *command, const char *path) {
  char why[ROAM_WHY_MAX], png[4096], svg[4096];
  roam_plot_names(path, png, svg, sizeof png);
  if (roam_plot_write(s, png, svg, why)) return roam_tool_fail(command, ROAM_EXIT_USAGE, "--plot: %s", why);
  fprintf(stderr, "plot: %s and %s\n", png, svg);
  return 0;
}

int roam_summary_deliver(const roam_summary *s, const char *command, const char *json, const char *plot) {
  bool json_first = json && strcmp(json, "-") == 0;
  roam_summary_print(s, json_first ? stderr : stdout);
  fflush(stdout);
  int code = json ? deliver_json(s, command, json) : 0;
  if (!code && plot) code = deliver_plot(s, command, plot);
  if (!code && fflush(stdout)) code = roam_tool_fail(command, ROAM_EXIT_USAGE, "cannot write to stdout");
  return code;
}

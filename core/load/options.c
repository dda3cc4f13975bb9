/* options.c - making a run: options checked, clients made. Starts nothing. */
#include "base/rng.h"
#include "load/load.h"

#include <stdlib.h>
#include <string.h>

void roam_load_options_init(roam_load_options *o) {
  *o = (roam_load_options){.size = sizeof *o,
                           .rate_per_s = 50,
                           .duration_ns = 20 * ROAM_S,
                           .settle_ns = 3 * ROAM_S,
                           .connect_wait_ns = 10 * ROAM_S,
                           .payload_bytes = 64,
                           .qos = 1};
}

static const char *option_error(const roam_load_options *o, size_t rows) {
  if (rows == 0 || rows > ROAM_LOAD_ROWS_MAX) return "rows: give between 1 and 4096";
  if (o->rate_per_s == 0 || o->rate_per_s > 1000000) return "rate_per_s: give between 1 and 1000000 messages a second";
  if (o->duration_ns == 0) return "duration_ns: give a time longer than 0";
  if (roam_plan_count(o->rate_per_s, o->duration_ns) > ROAM_LOAD_MESSAGES_MAX) {
    return "rate_per_s and duration_ns: more than 100000000 messages for each row; lower one of them";
  }
  if (o->settle_ns > 3600 * ROAM_S) return "settle_ns: give at most an hour";
  if (o->connect_wait_ns == 0 || o->connect_wait_ns > 3600 * ROAM_S)
    return "connect_wait_ns: give between 1 ns and an hour";
  if (o->payload_bytes < ROAM_WORKER_HEADER || o->payload_bytes > 1048576)
    return "payload_bytes: give between 16 and 1048576";
  if (o->qos > 2) return "qos: give 0, 1 or 2";
  return NULL;
}

static bool is_row_name(const char *name) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  size_t len = name ? strlen(name) : 0;
  return len > 0 && len < ROAM_WORKER_NAME_MAX && strspn(name, letters) == len;
}

static roam_rc make_member(roam_load *l, struct roam_member *m, roam_client_options o, const char *suffix,
                           const char **why) {
  char id[ROAM_WORKER_NAME_MAX + 8];
  roam_rc rc = 0;
  roam_list_init(&m->place);
  if (!o.client_id) {
    strcpy(id, m->worker->name);
    strcat(id, suffix);
    o.client_id = id;
  }
  m->client = roam_client_new(&o, l->random, &rc);
  if (m->client) return 0;
  *why = rc == ROAM_E_OPTION ? roam_client_option_error(&o) : roam_strerror(rc);
  return rc ? rc : ROAM_E_MEMORY;
}

static roam_rc make_row(roam_load *l, const roam_load_row *row, uint32_t i, uint32_t run, const char **why) {
  struct roam_member *publisher = &l->members[2 * i], *subscriber = publisher + 1;
  *why = roam_strerror(ROAM_E_MEMORY);
  roam_rc rc = roam_worker_init(&l->workers[i], row->name, run, &l->plan);
  if (rc) return rc;
  *publisher = (struct roam_member){.worker = &l->workers[i], .row = i, .index = 2 * i, .publisher = true};
  *subscriber = (struct roam_member){.worker = &l->workers[i], .row = i, .index = 2 * i + 1};
  rc = make_member(l, publisher, row->publisher, "-pub", why);
  return rc ? rc : make_member(l, subscriber, row->subscriber, "-sub", why);
}

static roam_rc make_rows(roam_load *l, const roam_load_row rows[], size_t n, const char **why) {
  uint32_t run = (uint32_t)roam_random_u64(l->random);
  *why = roam_strerror(ROAM_E_MEMORY);
  l->workers = calloc(n, sizeof *l->workers);
  l->members = calloc(2 * n, sizeof *l->members);
  l->payload = malloc(l->o.payload_bytes);
  if (!l->workers || !l->members || !l->payload) return ROAM_E_MEMORY;
  roam_heap_init(&l->due, (uint32_t)(2 * n));
  if (roam_heap_reserve(&l->due, (uint32_t)(2 * n))) return ROAM_E_MEMORY;
  for (size_t i = 0; i < n; i++) {
    if (!is_row_name(rows[i].name)) {
      *why = "rows: a name is 1 to 47 letters, digits, '-', '_' or '.'";
      return ROAM_E_OPTION;
    }
    l->workers_len = i + 1;
    l->members_len = 2 * (i + 1);
    roam_rc rc = make_row(l, &rows[i], (uint32_t)i, run, why);
    if (rc) return rc;
  }
  return 0;
}

static roam_load *refuse(roam_load *l, roam_rc rc, const char *text, roam_rc *rc_out, const char **why_out) {
  roam_load_free(l);
  if (rc_out) *rc_out = rc;
  if (why_out) *why_out = text;
  return NULL;
}

roam_load *roam_load_new(const roam_load_options *o, const roam_load_row rows[], size_t n, roam_recorder *recorder,
                         roam_random *random, roam_rc *rc, const char **why) {
  roam_load_options all;
  roam_load_options_init(&all);
  if (o) memcpy(&all, o, o->size < sizeof all ? o->size : sizeof all);
  all.size = sizeof all;
  const char *text = option_error(&all, n);
  if (text) return refuse(NULL, ROAM_E_OPTION, text, rc, why);
  roam_load *l = calloc(1, sizeof *l);
  if (!l) return refuse(NULL, ROAM_E_MEMORY, roam_strerror(ROAM_E_MEMORY), rc, why);
  l->o = all;
  l->plan = (struct roam_plan){all.rate_per_s, roam_plan_count(all.rate_per_s, all.duration_ns)};
  l->recorder = recorder;
  l->random = random;
  roam_list_init(&l->touched);
  roam_list_init(&l->dry);
  roam_ring_init(&l->events, sizeof(struct roam_load_event), 4096);
  roam_router_init(&l->router, (uint32_t)(2 * n * ROAM_LOAD_SOCKETS_MAX), random);
  roam_rc failed = make_rows(l, rows, n, &text);
  if (failed) return refuse(l, failed, text, rc, why);
  if (rc) *rc = 0;
  return l;
}

void roam_load_free(roam_load *l) {
  if (!l) return;
  roam_heap_reset(&l->due);
  for (size_t i = 0; i < l->members_len; i++) roam_client_free(l->members[i].client);
  for (size_t i = 0; i < l->workers_len; i++) roam_worker_reset(&l->workers[i]);
  roam_router_reset(&l->router);
  roam_ring_reset(&l->events);
  free(l->members);
  free(l->workers);
  free(l->payload);
  free(l);
}

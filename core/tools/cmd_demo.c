/* cmd_demo.c - `roamqtt demo`: the experiment. A broker, NATs, publishers and subscribers in one process and one loop, over
 * real sockets on loopback; the publishers' public address changes and changes back; everything that happens is recorded,
 * and table, plot, JSON and exit code come from the recording alone.
 *
 * Course: the broker's listeners come first, because the relays need its ports; then the relays, because the publishers
 * need theirs; then the load, which starts its schedule once every client is connected. Each step is taken between two
 * turns of the loop, when the events of the turn before have told that the last one is done. */
#include "options.h"
#include "plot.h"
#include "summary.h"
#include "tell.h"

#include <roamqtt/roamqtt.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNSET (ROAM_NEVER - 1)
#define RECORD_WAITING_MAX ((size_t)64 << 20)
#define RECORDING_MAX ((size_t)1 << 30)

#define BROKER "127.0.10.1"
#define HOME "127.0.10.200"
#define AWAY "127.0.10.203"

enum {
  TCP,
  TCP_RECONNECT,
  QUIC_PASSIVE,
  QUIC_ACTIVE,
  ROWS,
  RELAYS = QUIC_ACTIVE
};

static const struct row {
  const char *name;
  bool quic, lives; /* lives: reconnects, keeps its session and queues while it is offline */
  const char *local;
  const char *inside; /* its NAT's inner address; NULL: none */
} rows[ROWS] = {
    [TCP] = {"tcp", false, false, "127.0.10.11", "127.0.10.101"},
    [TCP_RECONNECT] = {"tcp-reconnect", false, true, "127.0.10.12", "127.0.10.102"},
    [QUIC_PASSIVE] = {"quic-passive", true, true, "127.0.10.13", "127.0.10.103"},
    [QUIC_ACTIVE] = {"quic-active", true, true, HOME, NULL},
};

enum stage {
  LISTENERS,
  NATS,
  LOAD
};

struct demo;
struct nat {
  struct demo *demo;
  uint32_t row;
  roam_relay *relay;
};

struct demo {
  uint64_t rate, duration_ns, qos, payload, rebind_ns, return_ns, rtt_ns;
  const char *json, *plot, *out, *log_format;
  bool json_log, quick, broken, quiet, debug, colour;

  roam_loop *loop;
  roam_broker *broker;
  struct nat nats[RELAYS];
  roam_load *load;
  roam_identity identity;
  roam_recorder *recorder;
  FILE *recording;
  char recording_path[4096], plot_path[4096];
  int signals;

  enum stage stage;
  uint32_t listening; /* of the stage that is running */
  roam_addr tcp, quic;
  size_t steps_done;
  uint64_t rates[ROWS];
  bool over, interrupted, waiting_told;
  int code;
};

/* ---- recording ------------------------------------------------------------------------------------------------------- */

static roam_field number(const char *name, uint64_t value) { return (roam_field){name, ROAM_FIELD_UINT, value, {0}}; }

static roam_field truth(const char *name, bool value) { return (roam_field){name, ROAM_FIELD_BOOL, value, {0}}; }

static roam_field text(const char *name, const char *value) {
  return (roam_field){name, ROAM_FIELD_TEXT, 0, {(const uint8_t *)value, strlen(value)}};
}

static void note(struct demo *d, const char *kind, uint32_t row, const roam_field fields[], size_t n) {
  (void)roam_recorder_put(d->recorder, roam_loop_now(d->loop), kind, row, fields, n); /* what is dropped is counted */
}

static void note_options(struct demo *d) {
  roam_field fields[10] = {
      text("version", roam_version()),       text("home", HOME),          text("away", AWAY),
      number("duration_ns", d->duration_ns), number("rtt_ns", d->rtt_ns), truth("follow_paths", !d->broken)};
  size_t n = 6;
  if (d->rebind_ns != ROAM_NEVER) fields[n++] = number("rebind_ns", d->rebind_ns);
  if (d->return_ns != ROAM_NEVER) fields[n++] = number("return_ns", d->return_ns);
  note(d, "demo", ROAM_RECORD_NO_ROW, fields, n);
}

/* Hands what was recorded to the file, so that a long run needs no memory for it. */
static void keep_recording(struct demo *d) {
  roam_bytes bytes = roam_recorder_bytes(d->recorder);
  if (!d->recording || bytes.len == 0) return;
  if (fwrite(bytes.base, 1, bytes.len, d->recording) == bytes.len) {
    roam_recorder_take(d->recorder, bytes.len);
    return;
  }
  d->code = roam_tool_fail("demo", ROAM_EXIT_USAGE, "--out: cannot write %s: %s", d->recording_path, strerror(errno));
  d->over = true;
}

/* ---- events ---------------------------------------------------------------------------------------------------------- */

static void stop(struct demo *d, int code) {
  if (!d->over) d->code = code;
  d->over = true;
}

static void hear_broker(void *context, const roam_event ev[], size_t n) {
  struct demo *d = context;
  char from[ROAM_ADDR_TEXT_MAX], to[ROAM_ADDR_TEXT_MAX], id[128];
  for (size_t i = 0; i < n; i++) {
    const roam_event *e = &ev[i];
    if (e->kind == ROAM_EV_LISTENING) {
      if (e->u.link.transport == ROAM_TRANSPORT_QUIC) d->quic = e->u.link.local;
      else d->tcp = e->u.link.local;
      d->listening++;
    } else if (e->kind == ROAM_EV_LISTEN_FAILED && !d->over) {
      stop(d, roam_tool_fail("demo", ROAM_EXIT_CONNECT,
                             "the broker cannot listen on %s: %s; is 127.0.0.0/8 on the loopback interface?", BROKER,
                             roam_strerror(e->rc)));
    } else if (e->kind == ROAM_EV_PEER_MOVED) {
      snprintf(id, sizeof id, "%.*s", (int)(e->id.len < 127 ? e->id.len : 127), (const char *)e->id.base);
      const roam_field fields[] = {text("client_id", id), text("from", roam_addr_format(&e->u.path.old_remote, from)),
                                   text("to", roam_addr_format(&e->u.path.remote, to))};
      note(d, "peer-moved", ROAM_RECORD_NO_ROW, fields, 3);
    }
  }
}

static void hear_nat(void *context, const roam_event ev[], size_t n) {
  struct nat *nat = context;
  struct demo *d = nat->demo;
  char a[ROAM_ADDR_TEXT_MAX], b[ROAM_ADDR_TEXT_MAX];
  for (size_t i = 0; i < n; i++) {
    const roam_event *e = &ev[i];
    if (e->kind == ROAM_EV_LISTENING) d->listening++;
    if (e->kind == ROAM_EV_LISTEN_FAILED && !d->over) {
      stop(d, roam_tool_fail("demo", ROAM_EXIT_CONNECT, "the NAT of %s cannot listen on %s: %s", rows[nat->row].name,
                             rows[nat->row].inside, roam_strerror(e->rc)));
    }
    const roam_field fields[] = {text("remote", roam_addr_format(&e->u.path.remote, a)),
                                 text("local", roam_addr_format(&e->u.path.local, b))};
    if (e->kind == ROAM_EV_NAT_MAPPED) note(d, "nat-mapped", nat->row, fields, 2);
    if (e->kind == ROAM_EV_NAT_RESET) note(d, "nat-reset", nat->row, fields, 1);
  }
}

static void print_rates(struct demo *d, uint32_t second) {
  if (d->quiet) return;
  if ((uint64_t)second * ROAM_S >= d->duration_ns) {
    if (!d->waiting_told) fprintf(stderr, "      waiting 3 s for late messages\n");
    d->waiting_told = true;
    return;
  }
  fprintf(stderr, "%4u s", second + 1);
  for (size_t i = 0; i < ROWS; i++) {
    bool red = d->colour && d->rates[i] == 0;
    fprintf(stderr, " %s%*llu%s", red ? "\033[31m" : "", (int)strlen(rows[i].name) + 3, (unsigned long long)d->rates[i],
            red ? "\033[0m" : "");
  }
  fputc('\n', stderr);
}

static void hear_load(void *context, const roam_event ev[], size_t n) {
  struct demo *d = context;
  for (size_t i = 0; i < n; i++) {
    const roam_event *e = &ev[i];
    if (e->kind == ROAM_EV_RATE && e->u.rate.row < ROWS) {
      d->rates[e->u.rate.row] = e->u.rate.received;
      if (e->u.rate.row == ROWS - 1) print_rates(d, e->u.rate.second);
    }
    if (e->kind != ROAM_EV_LOAD_DONE) continue;
    stop(d, e->rc ? roam_tool_fail("demo", roam_exit_of(e->rc), "the experiment cannot start: %s",
                                   e->text ? e->text : roam_strerror(e->rc))
                  : 0);
  }
}

static roam_time hear_signal(void *context, roam_time now) {
  struct demo *d = context;
  (void)now;
  if (!roam_tool_signal_take(d->signals)) return ROAM_NEVER;
  d->interrupted = true;
  stop(d, ROAM_EXIT_INTERRUPTED);
  return ROAM_NEVER;
}

static void write_log(void *context, roam_time at, roam_level level, const char *line, const char *name,
                      const roam_log_field fields[], size_t n) {
  const struct demo *d = context;
  if (d->json_log) roam_tell_json_log(stderr, level, line, name, fields, n);
  else
    fprintf(stderr, "%llu.%06llu %s\n", (unsigned long long)(at / ROAM_S), (unsigned long long)(at % ROAM_S / ROAM_US),
            line);
}

static roam_log log_of(const struct demo *d) {
  return d->debug ? (roam_log){.context = (void *)(uintptr_t)d, .level = ROAM_LOG_DEBUG, .record = write_log}
                  : (roam_log){0};
}

/* ---- making things --------------------------------------------------------------------------------------------------- */

static roam_addr address(const char *ip) {
  roam_addr addr = {0};
  (void)roam_addr_parse(ip, &addr); /* our own constants */
  return addr;
}

static roam_bytes pem(const char *at) { return (roam_bytes){(const uint8_t *)at, strlen(at)}; }

static int cannot(const char *what, roam_rc rc) {
  return roam_tool_fail("demo", ROAM_EXIT_CONNECT, "%s: %s", what, roam_strerror(rc));
}

static int make_broker(struct demo *d) {
  roam_broker_options o;
  roam_rc rc = roam_identity_make(&d->identity, "roamqtt demo", "localhost," BROKER, roam_wall_unix_s(), 2, false);
  if (rc) return roam_tool_fail("demo", ROAM_EXIT_TLS, "cannot make a throw-away CA: %s", roam_strerror(rc));
  roam_broker_options_init(&o);
  o.tls = (roam_tls_config){
      .certificate = pem(d->identity.certificate), .key = pem(d->identity.key), .wall_unix_s = roam_wall_unix_s()};
  o.follow_paths = !d->broken;
  o.log = log_of(d);
  roam_time now = roam_loop_now(d->loop);
  d->broker = roam_broker_new(&o, now, roam_random_system(), &rc);
  if (!d->broker) return cannot("cannot make the broker", rc);
  rc = roam_loop_add(d->loop, roam_broker_machine(d->broker), hear_broker, d);
  if (rc) return cannot("cannot run the broker", rc);
  roam_addr at = address(BROKER);
  rc = roam_broker_listen(d->broker, now, ROAM_TRANSPORT_TCP, &at, NULL);
  if (!rc) rc = roam_broker_listen(d->broker, now, ROAM_TRANSPORT_QUIC, &at, NULL);
  return rc ? cannot("the broker cannot listen", rc) : 0;
}

static int make_nats(struct demo *d) {
  for (uint32_t i = 0; i < RELAYS; i++) {
    roam_relay_options o;
    roam_relay_options_init(&o);
    o.inside = address(rows[i].inside);
    o.server = rows[i].quic ? d->quic : d->tcp;
    o.address = address(HOME);
    o.udp = rows[i].quic;
    o.tcp = !rows[i].quic;
    o.delay_ns = d->rtt_ns / 2;
    o.log = log_of(d);
    d->nats[i] = (struct nat){d, i, roam_relay_new(&o, roam_random_system())};
    if (!d->nats[i].relay) return cannot("cannot make a NAT", ROAM_E_MEMORY);
    roam_rc rc = roam_loop_add(d->loop, roam_relay_machine(d->nats[i].relay), hear_nat, &d->nats[i]);
    if (rc) return cannot("cannot run a NAT", rc);
  }
  return 0;
}

static void fill_client(const struct demo *d, const struct row *row, roam_client_options *o, const char *url) {
  roam_client_options_init(o);
  o->url = url;
  o->tls = (roam_tls_config){.ca = pem(d->identity.ca_certificate), .wall_unix_s = roam_wall_unix_s()};
  o->server_name = "localhost";
  o->reconnect = row->lives;
  o->offline_queue = row->lives;
  o->clean_start = !row->lives;
  o->session_expiry_s = row->lives ? 300 : 0;
  o->log = log_of(d);
}

static void write_url(char url[ROAM_ADDR_TEXT_MAX + 16], bool quic, const roam_addr *at) {
  char where[ROAM_ADDR_TEXT_MAX];
  snprintf(url, ROAM_ADDR_TEXT_MAX + 16, "%s://%s", quic ? "mqtt-quic" : "mqtt", roam_addr_format(at, where));
}

static int make_load(struct demo *d) {
  char urls[2][ROWS][ROAM_ADDR_TEXT_MAX + 16];
  roam_load_row load_rows[ROWS];
  for (size_t i = 0; i < ROWS; i++) {
    roam_addr server = rows[i].quic ? d->quic : d->tcp, inside = i < RELAYS ? roam_relay_inside(d->nats[i].relay) : server;
    write_url(urls[0][i], rows[i].quic, &inside);
    write_url(urls[1][i], rows[i].quic, &server);
    load_rows[i].name = rows[i].name;
    fill_client(d, &rows[i], &load_rows[i].publisher, urls[0][i]);
    fill_client(d, &rows[i], &load_rows[i].subscriber, urls[1][i]);
    load_rows[i].publisher.local = address(rows[i].local);
  }
  roam_load_options o;
  roam_load_options_init(&o);
  o.rate_per_s = (uint32_t)d->rate;
  o.duration_ns = d->duration_ns;
  o.payload_bytes = (uint32_t)d->payload;
  o.qos = (uint8_t)d->qos;
  const char *why = "";
  roam_rc rc;
  d->load = roam_load_new(&o, load_rows, ROWS, d->recorder, roam_random_system(), &rc, &why);
  if (!d->load) return roam_tool_fail("demo", ROAM_EXIT_USAGE, "cannot make this load: %s", why);
  rc = roam_loop_add(d->loop, roam_load_machine(d->load), hear_load, d);
  if (!rc) rc = roam_load_start(d->load, roam_loop_now(d->loop));
  return rc ? cannot("cannot start the load", rc) : 0;
}

/* ---- the course ------------------------------------------------------------------------------------------------------ */

static void print_header(const struct demo *d) {
  if (d->quiet) return;
  fprintf(stderr, "messages delivered in each second:\n      ");
  for (size_t i = 0; i < ROWS; i++) fprintf(stderr, " %*s", (int)strlen(rows[i].name) + 3, rows[i].name);
  fputc('\n', stderr);
}

static void take_snapshot(struct demo *d, uint64_t phase) {
  for (uint32_t i = 0; i < ROWS; i++) {
    char id[64], at[ROAM_ADDR_TEXT_MAX];
    roam_peer_info info;
    snprintf(id, sizeof id, "%s-pub", rows[i].name);
    if (roam_broker_client(d->broker, id, &info)) continue;
    const roam_field fields[] = {number("phase", phase), text("address", roam_addr_format(&info.ip_address, at)),
                                 truth("connected", info.connected), number("moves", info.moves)};
    note(d, "peer", i, fields, 4);
  }
}

static void count_connects(struct demo *d) {
  static const char *const sides[] = {"pub", "sub"};
  for (uint32_t i = 0; i < ROWS; i++) {
    uint64_t connects = 0;
    for (size_t j = 0; j < 2; j++) {
      char id[64];
      roam_peer_info info;
      snprintf(id, sizeof id, "%s-%s", rows[i].name, sides[j]);
      if (roam_broker_client(d->broker, id, &info) == 0) connects += info.connects;
    }
    const roam_field field = number("connects", connects);
    note(d, "connects", i, &field, 1);
  }
}

/* The NATs get another public address; the client without one goes to it by itself. */
static void change_address(struct demo *d, const char *from, const char *to) {
  roam_addr addr = address(to);
  roam_time now = roam_loop_now(d->loop);
  const roam_field fields[] = {text("from", from), text("to", to)};
  note(d, "change", ROAM_RECORD_NO_ROW, fields, 2);
  for (size_t i = 0; i < RELAYS; i++) (void)roam_relay_rebind(d->nats[i].relay, now, &addr);
  roam_rc rc = roam_client_migrate(roam_load_publisher(d->load, QUIC_ACTIVE), now, &addr, NULL, false);
  if (rc) {
    const roam_field refused = {"rc", ROAM_FIELD_INT, (uint64_t)(int64_t)rc, {0}};
    note(d, "migrate-refused", QUIC_ACTIVE, &refused, 1);
  }
  if (!d->quiet) fprintf(stderr, "       -- address change: %s -> %s\n", from, to);
}

static uint64_t or_at(uint64_t at_ns, uint64_t otherwise_ns) { return at_ns == ROAM_NEVER ? otherwise_ns : at_ns; }

/* Does what is due of the two steps, before and after the change; how long until the next. */
static uint64_t keep_schedule(struct demo *d) {
  roam_time start = d->load ? roam_load_started(d->load) : 0;
  bool stays = d->rebind_ns == ROAM_NEVER;
  uint64_t first = or_at(d->rebind_ns, d->duration_ns / 3);
  const uint64_t at[2] = {first, or_at(d->return_ns, first + (d->duration_ns - first) / 2)};
  while (start && d->steps_done < 2) {
    roam_time now = roam_loop_now(d->loop), due = start + at[d->steps_done];
    if (due > now) return due - now;
    take_snapshot(d, d->steps_done);
    if (d->steps_done == 0 && !stays) change_address(d, HOME, AWAY);
    if (d->steps_done == 1 && d->return_ns != ROAM_NEVER) change_address(d, AWAY, HOME);
    d->steps_done++;
  }
  return ROAM_NEVER;
}

static int advance(struct demo *d) {
  if (d->stage == LISTENERS && d->listening == 2) {
    d->stage = NATS;
    d->listening = 0;
    return make_nats(d);
  }
  if (d->stage == NATS && d->listening == RELAYS) {
    d->stage = LOAD;
    print_header(d);
    return make_load(d);
  }
  return 0;
}

static void finish_recording(struct demo *d) {
  take_snapshot(d, 2);
  count_connects(d);
  const roam_field fields[] = {truth("interrupted", d->interrupted), number("dropped", roam_recorder_dropped(d->recorder))};
  note(d, "end", ROAM_RECORD_NO_ROW, fields, 2);
  keep_recording(d);
}

static void turn(struct demo *d) {
  while (!d->over) {
    int code = advance(d);
    if (code) stop(d, code);
    if (d->over) break;
    if (roam_loop_step(d->loop, keep_schedule(d)) < 0) {
      stop(d, roam_tool_fail("demo", ROAM_EXIT_LOST, "the event loop failed: %s", strerror(errno)));
    }
    keep_recording(d);
  }
  if (d->broker) finish_recording(d);
}

/* ---- before and after ------------------------------------------------------------------------------------------------ */

static int open_recording(struct demo *d) {
  if (mkdir(d->out, 0777) && errno != EEXIST) {
    return roam_tool_usage("demo", "--out: cannot make the folder %s: %s", d->out, strerror(errno));
  }
  snprintf(d->recording_path, sizeof d->recording_path, "%s/demo.cbor", d->out);
  snprintf(d->plot_path, sizeof d->plot_path, "%s/plot.png", d->out);
  d->recording = fopen(d->recording_path, "wb");
  return d->recording ? 0 : roam_tool_usage("demo", "--out: cannot write %s: %s", d->recording_path, strerror(errno));
}

static int set_up(struct demo *d) {
  roam_loop_options lo;
  int code = open_recording(d);
  if (code) return code;
  roam_loop_options_init(&lo);
  lo.log = log_of(d);
  d->colour = roam_tool_colour(stderr);
  d->signals = roam_tool_signals();
  d->loop = roam_loop_new(&lo);
  if (d->signals < 0 || !d->loop) return roam_tool_fail("demo", ROAM_EXIT_CONNECT, "no event loop: %s", strerror(errno));
  d->recorder = roam_recorder_new(RECORD_WAITING_MAX);
  if (!d->recorder) return cannot("cannot record", ROAM_E_MEMORY);
  roam_recorder_start(d->recorder, roam_loop_now(d->loop));
  note_options(d);
  roam_rc rc = roam_loop_add_fd(d->loop, d->signals, hear_signal, d);
  return rc ? cannot("cannot wait for signals", rc) : make_broker(d);
}

static void tear_down(struct demo *d) {
  roam_loop_free(d->loop);
  roam_load_free(d->load);
  for (size_t i = 0; i < RELAYS; i++) roam_relay_free(d->nats[i].relay);
  roam_broker_free(d->broker);
  roam_identity_clear(&d->identity);
  roam_recorder_free(d->recorder);
  if (d->signals > 0) close(d->signals);
}

static int close_recording(struct demo *d) {
  if (!d->recording) return 0;
  bool bad = ferror(d->recording) != 0;
  if (fclose(d->recording) || bad) {
    return roam_tool_fail("demo", ROAM_EXIT_USAGE, "--out: cannot write %s: %s", d->recording_path, strerror(errno));
  }
  return 0;
}

/* From here on only the recording counts. */
static int tell(const struct demo *d) {
  char why[ROAM_WHY_MAX];
  uint8_t *bytes;
  size_t len;
  if (roam_file_read(d->recording_path, RECORDING_MAX, &bytes, &len, why))
    return roam_tool_fail("demo", ROAM_EXIT_USAGE, "%s", why);
  roam_summary *s = roam_summary_read((roam_bytes){bytes, len}, why);
  free(bytes);
  if (!s) return roam_tool_fail("demo", ROAM_EXIT_USAGE, "%s: %s", d->recording_path, why);
  fputc('\n', stderr);
  int code = roam_summary_deliver(s, "demo", d->json, d->plot ? d->plot : d->plot_path);
  fprintf(stderr, "recording: %s (roamqtt report makes table and plot again)\n", d->recording_path);
  const roam_summary_check *failed = roam_summary_failed(s);
  if (!code && d->interrupted) code = ROAM_EXIT_INTERRUPTED;
  if (!code && failed)
    code = roam_tool_fail("demo", ROAM_EXIT_THRESHOLD, "expected, but it did not come true: %s", failed->sentence);
  roam_summary_free(s);
  return code;
}

static int run(struct demo *d) {
  int code = set_up(d);
  if (!code) {
    turn(d);
    code = d->code;
  }
  bool started = d->load && roam_load_started(d->load);
  tear_down(d);
  int closed = close_recording(d);
  if (closed) return closed;
  return started && (!code || d->interrupted) ? tell(d) : code;
}

/* ---- options --------------------------------------------------------------------------------------------------------- */

static int settle_times(struct demo *d) {
  if (d->duration_ns == UNSET) d->duration_ns = d->quick ? 5 * ROAM_S : 20 * ROAM_S;
  if (d->rebind_ns == UNSET) d->rebind_ns = d->duration_ns / 4;
  if (d->rebind_ns == ROAM_NEVER && d->return_ns != UNSET && d->return_ns != ROAM_NEVER) {
    return roam_tool_usage("demo", "--return-at: there is nothing to return from; leave it out or give --rebind-at a time");
  }
  if (d->rebind_ns == ROAM_NEVER) d->return_ns = ROAM_NEVER;
  if (d->rebind_ns != ROAM_NEVER && d->rebind_ns >= d->duration_ns) {
    return roam_tool_usage("demo", "--rebind-at: lies behind the end; give less than --duration, or never");
  }
  if (d->return_ns == UNSET) d->return_ns = d->rebind_ns + (d->duration_ns - d->rebind_ns) / 3 * 2;
  if (d->return_ns == ROAM_NEVER) return 0;
  if (d->return_ns <= d->rebind_ns) return roam_tool_usage("demo", "--return-at: must come after --rebind-at");
  if (d->return_ns >= d->duration_ns)
    return roam_tool_usage("demo", "--return-at: lies behind the end; give less than --duration, or never");
  return 0;
}

static int settle_options(struct demo *d) {
  if (d->log_format && !roam_tell_format(d->log_format, &d->json_log))
    return roam_tool_usage("demo", "--log-format: text or json, got '%s'", d->log_format);
  char png[4096], svg[4096];
  if (d->plot && !roam_plot_names(d->plot, png, svg, sizeof png)) {
    return roam_tool_usage("demo", "--plot: expected a name that ends in .png or .svg, got '%s'", d->plot);
  }
  if (strlen(d->out) > 4000) return roam_tool_usage("demo", "--out: the name is too long");
  int code = settle_times(d);
  if (code) return code;
  if (d->duration_ns / ROAM_S * d->rate > 10000000) {
    return roam_tool_usage("demo", "--rate and --duration: more than 10000000 messages for each row; lower one of them");
  }
  return 0;
}

int cmd_demo(int argc, char **argv) {
  struct demo d = {.rate = 50,
                   .qos = 1,
                   .payload = 64,
                   .rtt_ns = 20 * ROAM_MS,
                   .out = "demo-out",
                   .duration_ns = UNSET,
                   .rebind_ns = UNSET,
                   .return_ns = UNSET};
  const roam_opt table[] = {
      {"quick", 0, ROAM_OPT_FLAG, NULL, "5 s instead of 20: under 10 s in all", &d.quick},
      {"rate", 0, ROAM_OPT_UINT, "N", "messages a second in each row (50)", &d.rate, 1, 100000},
      {"duration", 0, ROAM_OPT_DURATION, "TIME", "how long messages are offered (20s)", &d.duration_ns, ROAM_S,
       3600 * ROAM_S},
      {"qos", 0, ROAM_OPT_UINT, "0|1|2", "quality of service (1)", &d.qos, 0, 2},
      {"payload", 0, ROAM_OPT_BYTES, "SIZE", "of each message (64)", &d.payload, 16, 262144},
      {"rebind-at", 0, ROAM_OPT_DURATION, "TIME", "when the address changes (a quarter of the duration); or never",
       &d.rebind_ns, ROAM_NEVER, 0},
      {"return-at", 0, ROAM_OPT_DURATION, "TIME", "when it changes back (two thirds of what is left then); or never",
       &d.return_ns, ROAM_NEVER, 0},
      {"rtt", 0, ROAM_OPT_DURATION, "TIME", "round trip that each NAT adds (20ms); quic-active has none", &d.rtt_ns, 0,
       10 * ROAM_S},
      {"broken-broker", 0, ROAM_OPT_FLAG, NULL, "a broker that ignores new addresses: the experiment must fail", &d.broken},
      {.kind = ROAM_OPT_HEADING, .help = "Results"},
      {"json", 0, ROAM_OPT_STRING, "FILE", "every number as JSON; - is stdout, and the table goes to stderr", &d.json},
      {"plot", 0, ROAM_OPT_STRING, "FILE", "the plot, as .png and as .svg whichever is named (DIR/plot.png)", &d.plot},
      {"out", 0, ROAM_OPT_STRING, "DIR", "folder of recording and plot (demo-out)", &d.out},
      {"quiet", 'q', ROAM_OPT_FLAG, NULL, "no line a second", &d.quiet},
      {"debug", 'd', ROAM_OPT_FLAG, NULL, "many lines about every machine", &d.debug},
      {"log-format", 0, ROAM_OPT_STRING, "FORMAT", "of those lines: text, or json: an object a line, with fields (text)",
       &d.log_format},
  };
  const roam_opts opts = {
      "demo",
      "[options]",
      "A publisher and a subscriber over TCP and the same over QUIC, while the publisher's public address changes from\n"
      "" HOME " to " AWAY " and back: on loopback, in one process, without root.",
      "Rows:\n"
      "  tcp            no reconnect, no offline queue; behind a NAT\n"
      "  tcp-reconnect  reconnect, persistent session, offline queue: the fair baseline; behind a NAT\n"
      "  quic-passive   the NAT changes its address; the client does nothing about it\n"
      "  quic-active    no NAT: the client itself migrates between the two addresses\n"
      "Exit code 0 when both QUIC rows lost nothing and did not reconnect, tcp broke, and the broker showed the new\n"
      "address and the old again; 99 with a sentence when not.",
      table,
      sizeof table / sizeof table[0]};
  int rest, code;
  if (!roam_opts_read(&opts, argc, argv, &rest, &code)) return code;
  if (rest > 1) return roam_tool_usage("demo", "takes options only; '%s' is left over", argv[1]);
  code = settle_options(&d);
  return code ? code : run(&d);
}

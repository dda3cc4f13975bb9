/* cmd_broker.c - `roamqtt broker`: the embedded broker on real sockets, with a line for every client that comes, goes or
 * moves: what it does, from start to stop; on SIGHUP, anew. Without options it is for first steps: loopback only, with a
 * certificate of its own making. Refuses to read options (broker_options.c) and to print (broker_tell.c). */
#include "cmd_broker.h"

#include "systemd.h"

#include <errno.h>
#ifdef __linux__
#include <malloc.h>
#endif
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CROWD 256
#define STOP_WAIT (4 * ROAM_S)

static void reload(struct roam_broker_run *b);

/* What a crowd needed goes back to the system when it has left; the allocator by itself keeps it. */
static void give_back_memory(struct roam_broker_run *b) {
  roam_time now = roam_loop_now(b->loop);
  if (b->departures < CROWD || now - b->trimmed_at < ROAM_S) return;
  b->departures = 0;
  b->trimmed_at = now;
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

void roam_broker_take_events(void *context, const roam_event ev[], size_t n) {
  struct roam_broker_run *b = context;
  for (size_t i = 0; i < n; i++) {
    if (ev[i].kind == ROAM_EV_STORE_FAILED && ev[i].rc != ROAM_E_NO_SPACE) {
      b->code = roam_tool_fail("broker", ROAM_EXIT_LOST, "%s; nothing acknowledged is lost", ev[i].text);
      b->over = true;
    }
    if (ev[i].kind == ROAM_EV_PEER_DISCONNECTED || ev[i].kind == ROAM_EV_PEER_REFUSED) b->departures++;
    if (ev[i].kind == ROAM_EV_LISTENING || ev[i].kind == ROAM_EV_LISTEN_FAILED) roam_listeners_event(b, &ev[i]);
    else roam_tell_event(b, &ev[i]);
  }
  if (b->departures >= CROWD) give_back_memory(b);
}

static roam_rc send_away(roam_broker *broker, roam_time now, void *context) {
  const struct roam_broker_run *b = context;
  uint8_t reason = b->drain_for_good ? ROAM_REASON_SERVER_MOVED : ROAM_REASON_USE_ANOTHER_SERVER;
  uint64_t over_ns = b->drain_over_ns ? b->drain_over_ns : 30 * ROAM_S;
  return roam_broker_send_away(broker, now, reason, b->drain_to, over_ns);
}

static roam_rc stop(roam_broker *broker, roam_time now, void *context) {
  (void)context;
  roam_broker_stop(broker, now);
  return 0;
}

static void drain(struct roam_broker_run *b) {
  if (!b->drain_to) roam_tell_line(b, ROAM_LOG_WARNING, "SIGUSR1: where to? start with --drain-to host[:port]");
  else if (roam_crew_each(b, send_away, b) == 0) roam_tell_line(b, ROAM_LOG_NOTICE, "sending all clients away");
}

static roam_time take_signal(void *context, roam_time now) {
  struct roam_broker_run *b = context;
  int number = roam_tool_signal_take(b->signals);
  if (!number) return ROAM_NEVER;
  if (number == SIGHUP) {
    if (!b->stopping_at) reload(b);
    return ROAM_NEVER;
  }
  if (number == SIGUSR1) {
    drain(b);
    return ROAM_NEVER;
  }
  if (!b->stopping_at) roam_systemd_tell("STOPPING=1");
  if (b->stopping_at) b->over = true;
  else roam_crew_each(b, stop, NULL);
  b->stopping_at = now;
  return ROAM_NEVER;
}

static void turn(struct roam_broker_run *b) {
  while (!b->over) {
    uint64_t wait = b->stopping_at ? 20 * ROAM_MS : ROAM_NEVER;
    if (roam_loop_step(b->loop, wait) < 0) {
      b->code = roam_tool_fail("broker", ROAM_EXIT_LOST, "the event loop failed: %s", strerror(errno));
      return;
    }
    if (!b->stopping_at) continue;
    roam_broker_stats stats = roam_crew_stats(b);
    bool quiet = stats.connections == 0 && stats.store_pending_bytes == 0;
    if (quiet || roam_loop_now(b->loop) - b->stopping_at > STOP_WAIT) b->over = true;
  }
}

/* Without --secret, next to the throw-away CA when that is used, else none. */
static int settle_secret(struct roam_broker_run *b, roam_broker_options *o) {
  char path[ROAM_PATH_MAX + 8], why[ROAM_WHY_MAX];
  const char *file = b->secret_file;
  if (!file && b->throwaway) {
    const char *slash = strrchr(b->ca_path, '/');
    snprintf(path, sizeof path, "%.*s/secret", slash ? (int)(slash - b->ca_path) : 0, b->ca_path);
    file = path;
  }
  if (!file) return 0;
  if (!roam_keep_secret(file, b->secret, why)) return roam_tool_usage("broker", "--secret: %s", why);
  o->secret = (roam_bytes){b->secret, sizeof b->secret};
  return 0;
}

static int settle_quic(struct roam_broker_run *b, roam_broker_options *o) {
  char why[ROAM_WHY_MAX];
  if (!roam_keep_tap_open(&b->tap, b->keylog_file, b->qlog_folder, &o->tap, why))
    return roam_tool_usage("broker", "%s", why);
  o->early_data = !b->no_early_data;
  return settle_secret(b, o);
}

static int open_store(struct roam_broker_run *b, roam_broker_options *o) {
  char why[ROAM_STORE_WHY_MAX];
  roam_store_options so;
  roam_store_options_init(&so);
  if (!b->store_path) return 0;
  so.sync = b->sync;
  o->store = b->store = roam_store_open(b->store_path, &so, NULL, why);
  if (!b->store) return roam_tool_fail("broker", ROAM_EXIT_LOST, "%s", why);
  if (b->crew.n == 1) return 0; /* --secret replaces it */
  roam_rc rc = roam_broker_secret(b->store, b->secret, why);
  return rc ? roam_tool_fail("broker", ROAM_EXIT_LOST, "the store cannot be used: %s", why[0] ? why : roam_strerror(rc))
            : 0;
}

static int make_broker(struct roam_broker_run *b, const roam_broker_options *o, roam_time now) {
  roam_rc rc = 0;
  b->broker = roam_broker_new(o, now, roam_random_system(), &rc);
  return b->broker ? 0 : roam_tool_fail("broker", ROAM_EXIT_USAGE, "cannot start: %s", roam_strerror(rc));
}

static void clear_files(struct roam_broker_run *b) {
  roam_config_clear(&b->config);
  free(b->certificate);
  free(b->key);
  free(b->ca);
  free(b->more);
}

static int check(struct roam_broker_run *b) {
  roam_broker_options o;
  int code = roam_broker_options_settle(b, &o);
  o.log = (roam_log){.level = b->level};
  if (!code) code = make_broker(b, &o, ROAM_S);
  if (!code) code = roam_listeners_check(b);
  roam_broker_free(b->broker);
  if (!code) printf("%s: fine\n", b->check_path);
  roam_files_free(b);
  clear_files(b);
  return code;
}

struct fresh {
  roam_broker_options *options;
  const char *why;
};

static roam_rc set_certificate(roam_broker *broker, roam_time now, void *context) {
  struct fresh *f = context;
  (void)now;
  return roam_broker_set_certificate(broker, &f->options->tls, &f->why);
}

static roam_rc reconfigure(roam_broker *broker, roam_time now, void *context) {
  struct fresh *f = context;
  (void)now;
  return roam_broker_reconfigure(broker, f->options);
}

/* SIGHUP: what the file and the command line say now. A mistake leaves everything as it was. */
static void reload(struct roam_broker_run *b) {
  struct roam_broker_run fresh = {.argc = b->argc, .argv = b->argv};
  roam_broker_options o;
  struct fresh f = {.options = &o};
  roam_systemd_tell("RELOADING=1");
  int code = roam_broker_options_take(&fresh);
  if (!code) code = roam_broker_options_settle(&fresh, &o);
  if (!code && o.workers != b->crew.n)
    roam_tell_line(b, ROAM_LOG_WARNING, "--workers: another number counts after a restart");
  roam_rc rc = 0;
  if (!code && o.tls.certificate.len > 0) rc = roam_crew_each(b, set_certificate, &f);
  if (!code && rc) code = roam_tool_fail("broker", 1, "--cert: %s", f.why ? f.why : roam_strerror(rc));
  if (!code && roam_crew_each(b, reconfigure, &f)) code = 1;
  if (!code) roam_files_hand_over(b, &o);
  if (!code) {
    roam_crew_hold(b);
    b->level = fresh.level;
    b->json = fresh.json;
    b->quiet = fresh.quiet;
    roam_crew_go_on(b);
  }
  roam_tell_line(b, ROAM_LOG_NOTICE, code ? "not reloaded: see above; everything stays as it was" : "reloaded");
  clear_files(&fresh);
  roam_files_free(&fresh);
  roam_systemd_tell("READY=1");
}

static int join_loop(struct roam_broker_run *b) {
  roam_rc rc = roam_loop_add(b->loop, roam_broker_machine(b->broker), roam_broker_take_events, b);
  if (!rc) rc = roam_loop_add_fd(b->loop, b->signals, take_signal, b);
  return rc ? roam_tool_fail("broker", ROAM_EXIT_CONNECT, "cannot start: %s", roam_strerror(rc)) : 0;
}

static int set_up(struct roam_broker_run *b) {
  roam_broker_options o;
  roam_loop_options lo;
  roam_loop_options_init(&lo);
  lo.unix_mode = (uint32_t)b->unix_mode;
  lo.log = roam_tell_loop_log(b);
  b->colour = roam_tool_colour(stderr);
  b->signals = roam_tool_signals_and(SIGHUP);
  b->loop = roam_loop_new(&lo);
  if (b->signals < 0 || !b->loop) return roam_tool_fail("broker", ROAM_EXIT_CONNECT, "no event loop: %s", strerror(errno));
  int code = roam_broker_options_settle(b, &o);
  if (!code && b->certificate_files.len == 0 && roam_listeners_secure(b)) code = roam_certificates_make(b, &o.tls);
  if (!code) code = open_store(b, &o);
  if (!code) code = settle_quic(b, &o);
  roam_time now = roam_loop_now(b->loop);
  if (!code) code = make_broker(b, &o, now);
  if (!code) code = join_loop(b);
  if (!code) code = roam_crew_start(b, &o, now);
  roam_files_free(b);
  return code ? code : roam_listeners_open(b, now);
}

static void tear_down(struct roam_broker_run *b) {
  roam_loop_free(b->loop);
  roam_crew_stop(b);
  roam_broker_free(b->broker);
  roam_post_free(b->crew.post);
  roam_store_free(b->store);
  roam_keep_tap_close(&b->tap);
  roam_identity_clear(&b->identity);
  clear_files(b);
  if (b->signals > 0) close(b->signals);
}

static int run(struct roam_broker_run *b) {
  int code = set_up(b);
  if (!code) {
    turn(b);
    code = b->code;
    roam_tell_farewell(b);
  }
  tear_down(b);
  return code;
}

int cmd_broker(int argc, char **argv) {
  struct roam_broker_run b = {.argc = argc, .argv = argv};
  int code = roam_broker_options_take(&b);
  if (code || b.asked_help) {
    clear_files(&b);
    return code;
  }
  return b.check_path ? check(&b) : run(&b);
}

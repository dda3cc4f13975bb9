/* dial.c - one client on one loop, from the first packet to the exit code: connecting, losing and finding the connection
 * again, moving on command, stopping on a signal or when the time is over. What is published or received is the command's
 * affair (dial.h). */
#include "dial.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PEM_MAX (1 << 20)
/* MQTT 3.1.1 has no Receive Maximum, and mosquitto loses QoS 2 messages beyond its own 20. */
#define INFLIGHT_OLD 20
#define CLOSE_WAIT (5 * ROAM_S)
#define NOTE_BYTES 1024

void roam_dial_note(const roam_dial *l, const char *format, ...) {
  char line[NOTE_BYTES];
  va_list args;
  if (l->o.quiet) return;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  if (l->o.json) roam_tell_json_log(stderr, ROAM_LOG_NOTICE, line, NULL, NULL, 0);
  else fprintf(stderr, "%s\n", line);
}

void roam_dial_finish(roam_dial *l, roam_time now, int code) {
  if (!l->code) l->code = code;
  if (l->closing_at) return;
  l->closing_at = now;
  if (roam_client_close(l->client, now, ROAM_REASON_SUCCESS)) l->over = true;
}

static void fail_connect(roam_dial *l, roam_time now, const roam_event *ev) {
  char text[ROAM_EXPLAIN_MAX];
  roam_client_error_info info = roam_client_error(l->client);
  roam_rc rc = ev->rc ? ev->rc : info.rc;
  roam_explain_connect(text, l->url, rc, ev->reason > 0 ? ev->reason : info.reason, info.text ? info.text : ev->text);
  int code = roam_exit_of(rc);
  roam_dial_finish(l, now, roam_tool_fail(l->command, code == ROAM_EXIT_LOST ? ROAM_EXIT_CONNECT : code, "%s", text));
}

static const char *trouble_text(const roam_dial *l, const roam_event *ev) {
  roam_client_error_info info = roam_client_error(l->client);
  if (ev->reason > 0) return roam_reason_text(ev->reason);
  if (info.text && *info.text) return info.text;
  return ev->text ? ev->text : roam_strerror(ev->rc);
}

static void on_connected(roam_dial *l, roam_time now, const roam_event *ev) {
  char local[ROAM_ADDR_TEXT_MAX], remote[ROAM_ADDR_TEXT_MAX];
  l->connected = true;
  if (l->lost_since) {
    roam_dial_note(l, "connected again (session %s)", ev->u.link.session_present ? "present" : "new");
  } else if (l->o.debug) {
    roam_dial_note(l, "connected to %s from %s over %s as %s", roam_addr_format(&ev->u.link.remote, remote),
                   roam_addr_format(&ev->u.link.local, local), roam_transport_name(ev->u.link.transport),
                   roam_client_id(l->client));
  }
  l->lost_since = 0;
  if (l->connected_at) return;
  l->connected_at = now;
  l->ops->connected(l->context, now);
}

static void on_disconnected(roam_dial *l, roam_time now, const roam_event *ev) {
  l->connected = false;
  if (l->closing_at) return;
  if (!l->connected_at) {
    fail_connect(l, now, ev);
    return;
  }
  if (!l->lost_since) l->lost_since = now;
  if (!ev->u.link.retry_ns) return; /* CLOSED follows and says why */
  roam_dial_note(l, "connection lost: %s; trying again in %.1f s", trouble_text(l, ev),
                 (double)ev->u.link.retry_ns / (double)ROAM_S);
}

static void on_closed(roam_dial *l, roam_time now, const roam_event *ev) {
  l->over = true;
  if (l->closing_at) return;
  if (!l->connected_at) {
    fail_connect(l, now, ev);
    return;
  }
  int code = ev->rc == ROAM_E_REFUSED ? ROAM_EXIT_REFUSED : ROAM_EXIT_LOST;
  l->code = roam_tool_fail(l->command, code, "%s: the connection ended for good: %s", l->url, trouble_text(l, ev));
  l->closing_at = now;
}

static void on_path(roam_dial *l, const roam_event *ev) {
  char old[ROAM_ADDR_TEXT_MAX], new[ROAM_ADDR_TEXT_MAX];
  if (ev->kind == ROAM_EV_PATH_FAILED) {
    roam_dial_note(l, "could not move to %s: %s", roam_addr_format(&ev->u.path.local, new),
                   ev->text ? ev->text : roam_strerror(ev->rc));
    return;
  }
  roam_dial_note(l, "moved from %s to %s (validated in %.1f ms, gap %.1f ms)", roam_addr_format(&ev->u.path.old_local, old),
                 roam_addr_format(&ev->u.path.local, new), (double)ev->u.path.validation_ns / (double)ROAM_MS,
                 (double)ev->u.path.gap_ns / (double)ROAM_MS);
}

static void save_state(const roam_dial *l) {
  char why[ROAM_WHY_MAX];
  if (l->o.state_file && !roam_keep_state_write(l->o.state_file, l->client, why)) roam_dial_note(l, "--state: %s", why);
}

static void take_events(void *context, const roam_event ev[], size_t n) {
  roam_dial *l = context;
  roam_time now = roam_loop_now(l->loop);
  for (size_t i = 0; i < n; i++) {
    switch (ev[i].kind) {
      case ROAM_EV_CONNECTED: on_connected(l, now, &ev[i]); break;
      case ROAM_EV_DISCONNECTED: on_disconnected(l, now, &ev[i]); break;
      case ROAM_EV_CLOSED: on_closed(l, now, &ev[i]); break;
      case ROAM_EV_EARLY_DATA:
        if (l->o.debug) roam_dial_note(l, "early data %s", ev[i].rc ? "rejected, sent again" : "accepted");
        break;
      case ROAM_EV_STATE: save_state(l); break;
      case ROAM_EV_PATH_MIGRATED:
      case ROAM_EV_PATH_FAILED: on_path(l, &ev[i]); break;
      case ROAM_EV_TRANSPORT:
      case ROAM_EV_PATH_TROUBLE:
      case ROAM_EV_REDIRECTED: roam_dial_note(l, "%s", ev[i].text ? ev[i].text : roam_event_name((int)ev[i].kind)); break;
      default: break;
    }
    l->ops->event(l->context, now, &ev[i]);
  }
}

static roam_time take_signal(void *context, roam_time now) {
  roam_dial *l = context;
  int number = roam_tool_signal_take(l->signals);
  if (!number) return ROAM_NEVER;
  if (l->closing_at) l->over = true;
  roam_dial_finish(l, now, number == SIGINT ? ROAM_EXIT_INTERRUPTED : ROAM_EXIT_OK);
  return ROAM_NEVER;
}

static void make_moves(roam_dial *l, roam_time now, roam_time *next) {
  for (size_t i = 0; i < l->moves_len; i++) {
    const roam_dial_move *move = &l->moves[i];
    roam_time due = l->connected_at + move->after_ns;
    if (l->moves_done >> i & 1) continue;
    if (due > now) {
      if (due < *next) *next = due;
      continue;
    }
    l->moves_done |= UINT64_C(1) << i;
    roam_rc rc =
        roam_client_migrate(l->client, now, move->interface ? NULL : &move->local, move->interface, move->immediate);
    if (rc) roam_dial_note(l, "could not move to %s: %s", l->o.moves.at[i], roam_strerror(rc));
  }
}

static bool is_over_by(roam_time since, uint64_t span, roam_time now, roam_time *next) {
  if (!since || !span || span == ROAM_NEVER) return false;
  if (now - since >= span) return true;
  if (since + span < *next) *next = since + span;
  return false;
}

/* What time alone brings: the end of -W, giving up, moves, a close that nobody answers. */
static roam_time mind_time(roam_dial *l, roam_time now) {
  roam_time next = ROAM_NEVER;
  if (l->closing_at) {
    l->over |= is_over_by(l->closing_at, CLOSE_WAIT, now, &next);
    return next;
  }
  if (is_over_by(l->started, l->o.timeout_ns, now, &next)) {
    roam_dial_note(l, "roamqtt %s: the time given with -W is over", l->command);
    roam_dial_finish(l, now, ROAM_EXIT_TIMEOUT);
  } else if (l->lost_since && (l->o.give_up_ns == 0 || is_over_by(l->lost_since, l->o.give_up_ns, now, &next))) {
    roam_dial_finish(l, now,
                     roam_tool_fail(l->command, ROAM_EXIT_LOST,
                                    "%s: the connection was lost and did not come back in time; "
                                    "--give-up-after says how long to wait",
                                    l->url));
  } else if (l->connected_at) {
    make_moves(l, now, &next);
  }
  return next;
}

static void turn(roam_dial *l) {
  while (!l->over) {
    roam_time now = roam_loop_now(l->loop), next = mind_time(l, now);
    if (l->connected_at && !l->closing_at) {
      roam_time wanted = l->ops->work(l->context, now);
      if (wanted < next) next = wanted;
    }
    if (l->over) break;
    now = roam_loop_now(l->loop);
    if (roam_loop_step(l->loop, next == ROAM_NEVER ? ROAM_NEVER : next > now ? next - now : 0) < 0) {
      l->code = roam_tool_fail(l->command, ROAM_EXIT_LOST, "the event loop failed: %s", strerror(errno));
      l->over = true;
    }
  }
}

/* ---- setting up ------------------------------------------------------------------------------------------------------ */

struct files {
  uint8_t *ca, *certificate, *key;
};

static int read_pem(const roam_dial *l, const char *option, const char *path, uint8_t **at, roam_bytes *out) {
  char why[ROAM_WHY_MAX];
  size_t len;
  if (!path) return 0;
  if (roam_file_read(path, PEM_MAX, at, &len, why)) return roam_tool_usage(l->command, "%s: %s", option, why);
  *out = (roam_bytes){*at, len};
  return 0;
}

static int read_files(const roam_dial *l, struct files *f, roam_tls_config *tls) {
  int code = read_pem(l, "--cafile", l->o.ca_file, &f->ca, &tls->ca);
  if (!code) code = read_pem(l, "--cert", l->o.certificate_file, &f->certificate, &tls->certificate);
  return code ? code : read_pem(l, "--key", l->o.key_file, &f->key, &tls->key);
}

static int read_version(const roam_dial *l, uint8_t *version) {
  const char *text = l->o.version ? l->o.version : "5";
  if (strncmp(text, "mqttv", 5) == 0) text += 5;
  if (strcmp(text, "5") == 0) *version = ROAM_MQTT_5;
  else if (strcmp(text, "311") == 0) *version = ROAM_MQTT_311;
  else if (strcmp(text, "31") == 0) *version = ROAM_MQTT_31;
  else return roam_tool_usage(l->command, "-V: expected 5, 311 or 31, got '%s'", l->o.version);
  return 0;
}

static void write_log(void *context, roam_time at, roam_level level, const char *line, const char *name,
                      const roam_log_field fields[], size_t n) {
  const roam_dial *l = context;
  if (l->o.json) roam_tell_json_log(stderr, level, line, name, fields, n);
  else fprintf(stderr, "%9.3f %s\n", (double)(at - l->started) / (double)ROAM_S, line);
}

static roam_bytes bytes_of(const char *text) { return (roam_bytes){(const uint8_t *)text, text ? strlen(text) : 0}; }

static void fill_options(const roam_dial *l, roam_client_options *c) {
  const roam_dial_options *o = &l->o;
  bool five = c->version == ROAM_MQTT_5;
  c->url = l->url;
  c->client_id = o->id;
  c->user_name = o->user;
  c->password = bytes_of(o->password);
  c->auth_method = o->auth_method;
  c->clean_start = !o->keep_session;
  c->session_expiry_s = (uint32_t)(o->keep_session && five && !o->expiry_s ? UINT32_MAX : o->expiry_s);
  c->keep_alive_s = (uint16_t)o->keep_alive_s;
  c->will_topic = o->will_topic;
  c->will_payload = bytes_of(o->will_payload);
  c->will_qos = (uint8_t)o->will_qos;
  c->will_retain = o->will_retain;
  c->will_delay_s = (uint32_t)o->will_delay_s;
  c->receive_maximum = (uint16_t)o->receive_maximum;
  c->topic_alias_maximum = (uint16_t)o->topic_alias_maximum;
  c->maximum_packet_size = (uint32_t)o->maximum_packet_size;
  c->payload_format_check = o->payload_format_check;
  c->tls.insecure = o->insecure;
  c->tls.wall_unix_s = roam_wall_unix_s();
  c->server_name = o->server_name;
  c->local = o->local;
  c->interfaces = o->interfaces;
  c->roam = !o->stay;
  c->fallback = o->fallback || o->fallback_url;
  c->fallback_url = o->fallback_url;
  if (o->fallback_port) c->fallback_port = (uint16_t)o->fallback_port;
  if (o->ping_ns) c->ping_ns = o->ping_ns;
  c->connect_timeout_ns = o->connect_timeout_ns;
  if (o->inflight_max) c->send_window_max = (uint16_t)o->inflight_max;
  else if (!five) c->send_window_max = INFLIGHT_OLD;
  if (l->queue_bytes_min > c->queue_bytes_max) c->queue_bytes_max = l->queue_bytes_min;
  if (o->debug) c->log = (roam_log){.context = (void *)l, .level = ROAM_LOG_DEBUG, .record = write_log};
  if (o->lanes) c->lanes = (roam_lanes_strategy)roam_dial_lanes(o->lanes);
  c->flows = o->flows;
  c->bare_control = o->bare_control;
  if (o->datagrams) c->datagram_filter = "#";
}

static int settle_keeping(roam_dial *l, roam_client_options *c, uint8_t **state) {
  const roam_dial_options *o = &l->o;
  char why[ROAM_WHY_MAX];
  size_t len;
  c->key_update_bytes = o->key_update_bytes;
  c->datagram_bytes_max = (uint32_t)o->datagram_bytes_max;
  if (o->congestion && roam_congestion_parse(o->congestion, &c->congestion))
    return roam_tool_usage(l->command, "--congestion: cubic, reno or bbr, got '%s'", o->congestion);
  if (!roam_keep_state_read(o->state_file, state, &len, why)) return roam_tool_usage(l->command, "--state: %s", why);
  if (!roam_keep_tap_open(&l->tap, o->keylog_file, o->qlog_folder, &c->tap, why))
    return roam_tool_usage(l->command, "%s", why);
  c->state = (roam_bytes){*state, len};
  c->tell_state = o->state_file != NULL;
  c->early_data = !o->no_early_data;
  return 0;
}

static int make_client(roam_dial *l) {
  roam_client_options c;
  struct files files = {0};
  uint8_t *state = NULL;
  roam_rc rc = 0;
  roam_client_options_init(&c);
  int code = read_version(l, &c.version);
  if (!code) code = read_files(l, &files, &c.tls);
  if (!code) code = settle_keeping(l, &c, &state);
  if (!code) {
    fill_options(l, &c);
    const char *wrong = roam_client_option_error(&c);
    if (wrong) code = roam_tool_usage(l->command, "%s", wrong);
    else if (!(l->client = roam_client_new(&c, roam_random_system(), &rc))) {
      code = roam_tool_fail(
          l->command, rc == ROAM_E_CERTIFICATE ? ROAM_EXIT_TLS : ROAM_EXIT_USAGE, "%s%s", roam_strerror(rc),
          rc == ROAM_E_CERTIFICATE ? ": are --cafile, --cert and --key PEM files that belong together?" : "");
    }
  }
  free(state);
  free(files.ca);
  free(files.certificate);
  free(files.key);
  return code;
}

static int open_loop(roam_dial *l) {
  roam_loop_options o;
  roam_loop_options_init(&o);
  if (l->o.debug) o.log = (roam_log){.context = l, .level = ROAM_LOG_DEBUG, .record = write_log};
  l->signals = roam_tool_signals();
  l->loop = roam_loop_new(&o);
  if (l->signals < 0 || !l->loop)
    return roam_tool_fail(l->command, ROAM_EXIT_CONNECT, "no event loop: %s", strerror(errno));
  l->started = roam_loop_now(l->loop);
  roam_rc rc = roam_loop_add_fd(l->loop, l->signals, take_signal, l);
  return rc ? roam_tool_fail(l->command, ROAM_EXIT_CONNECT, "no event loop: %s", roam_strerror(rc)) : 0;
}

static int start(roam_dial *l) {
  roam_rc rc = roam_loop_add(l->loop, roam_client_machine(l->client), take_events, l);
  if (!rc) rc = roam_client_start(l->client, l->started);
  if (!rc) return 0;
  const char *text = roam_client_error(l->client).text;
  return roam_tool_fail(l->command, ROAM_EXIT_CONNECT, "cannot start: %s", text && *text ? text : roam_strerror(rc));
}

int roam_dial_run(roam_dial *l, const roam_dial_ops *ops, void *context) {
  l->ops = ops;
  l->context = context;
  int code = open_loop(l);
  if (!code) code = make_client(l);
  if (!code) code = start(l);
  if (!code) {
    turn(l);
    code = l->code;
  }
  roam_loop_free(l->loop);
  roam_client_free(l->client);
  roam_keep_tap_close(&l->tap);
  if (l->signals > 0) close(l->signals);
  return code;
}

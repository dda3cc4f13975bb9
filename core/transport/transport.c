/* transport.c - the doors of the contract in transport.h: each hands its call to the implementation behind it, and to
 * nothing else. Refuses to know a protocol: what is common to all of them and nothing more stands here. */
#include "transport/transport.h"

#include <string.h>

void roam_transport_options_init(roam_transport_options *o) {
  memset(o, 0, sizeof *o);
  o->now = ROAM_S;
  o->handle_first = 1;
  o->alpn = "mqtt";
  o->connect_timeout_ns = 10 * ROAM_S;
  o->idle_timeout_ns = 60 * ROAM_S;
  o->ping_ns = 15 * ROAM_S;
  o->initial_rtt_ns = 100 * ROAM_MS;
  o->lane_tx_bytes = 262144;
  o->lane_rx_bytes = 262144;
  o->conn_rx_bytes = 1048576;
  o->lanes_max = 16;
  o->conns_max = 10240;
  o->handshakes_max = 1024;
  o->follow_paths = true;
  o->datagram_bytes_max = 8952;
  o->early_data = true;
  o->replay_window_ns = 6 * 3600 * ROAM_S;
  o->replay_keys_max = 65536;
  o->key_update_bytes = (uint64_t)1 << 30;
  o->follow_preferred = true;
  o->workers = 1;
}

roam_transport *roam_transport_new(roam_transport_kind kind, const roam_transport_options *o, roam_rc *rc,
                                   const char **why) {
  switch (kind) {
    case ROAM_TRANSPORT_QUIC: return roam_quic_new(o, rc, why);
    case ROAM_TRANSPORT_TCP: return roam_tcp_new(o, rc, why);
    case ROAM_TRANSPORT_TLS: return roam_tls_new(o, rc, why);
    case ROAM_TRANSPORT_WS:
    case ROAM_TRANSPORT_WSS: return roam_ws_new(o, kind == ROAM_TRANSPORT_WSS, rc, why);
  }
  *why = "no such transport";
  *rc = ROAM_E_UNSUPPORTED;
  return NULL;
}

void roam_transport_free(roam_transport *t) {
  if (t) t->ops->free(t);
}

roam_transport_kind roam_transport_get_kind(const roam_transport *t) { return t->ops->kind; }

bool roam_transport_owns(const roam_transport *t, const roam_wire *unit) {
  if (unit->kind == ROAM_WIRE_ADDR || unit->kind == ROAM_WIRE_WAKE) return true;
  return t->ops->owns(t, unit);
}

void roam_transport_feed(roam_transport *t, roam_time now, const roam_wire in[], size_t n) { t->ops->feed(t, now, in, n); }

void roam_transport_tick(roam_transport *t, roam_time now) { t->ops->tick(t, now); }

size_t roam_transport_drain(roam_transport *t, roam_time now, roam_wire out[], size_t n) {
  return t->ops->drain(t, now, out, n);
}

size_t roam_transport_poll(roam_transport *t, roam_te ev[], size_t n) { return t->ops->poll(t, ev, n); }

roam_time roam_transport_deadline(const roam_transport *t) { return t->ops->deadline(t); }

roam_rc roam_transport_listen(roam_transport *t, roam_time now, const roam_addr *local, uint32_t *listener) {
  return t->ops->listen(t, now, local, listener);
}

roam_rc roam_transport_listen_name(roam_transport *t, roam_time now, const char *name, const roam_addr *local,
                                   uint32_t *listener) {
  return t->ops->listen_name ? t->ops->listen_name(t, now, name, local, listener) : ROAM_E_UNSUPPORTED;
}

roam_rc roam_transport_certify(roam_transport *t, const roam_tls_config *config, const char **why) {
  *why = NULL;
  return t->ops->certify ? t->ops->certify(t, config, why) : ROAM_E_UNSUPPORTED;
}

uint64_t roam_transport_refused(const roam_transport *t) { return t->refused; }

uint32_t roam_transport_handshakes(const roam_transport *t) { return t->ops->handshakes ? t->ops->handshakes(t) : 0; }

void roam_transport_unlisten(roam_transport *t, roam_time now, uint32_t listener) { t->ops->unlisten(t, now, listener); }

roam_rc roam_transport_dial(roam_transport *t, roam_time now, const roam_addr *remote, const roam_addr *local,
                            const char *interface, const char *server_name, void *user, roam_conn **out) {
  return t->ops->dial(t, now, remote, local, interface, server_name, user, out);
}

void *roam_conn_user(const roam_conn *c) { return c->user; }

void roam_conn_set_user(roam_conn *c, void *user) { c->user = user; }

roam_transport *roam_conn_transport(const roam_conn *c) { return c->transport; }

roam_conn_info roam_conn_get_info(const roam_conn *c) { return c->transport->ops->info(c); }

uint64_t roam_conn_number(const roam_conn *c) { return c->number; }

const char *roam_conn_subject(const roam_conn *c) {
  return c->transport->ops->subject ? c->transport->ops->subject(c) : NULL;
}

roam_rc roam_conn_lane_open(roam_conn *c, roam_time now, uint32_t *lane) {
  return c->transport->ops->lane_open(c, now, lane);
}

roam_bytes roam_conn_peek(const roam_conn *c, uint32_t lane) { return c->transport->ops->peek(c, lane); }

void roam_conn_consume(roam_conn *c, roam_time now, uint32_t lane, size_t n) {
  c->transport->ops->consume(c, now, lane, n);
}

size_t roam_conn_room(const roam_conn *c, uint32_t lane) { return c->transport->ops->room(c, lane); }

roam_rc roam_conn_write(roam_conn *c, roam_time now, uint32_t lane, const roam_slice slices[], size_t n) {
  return c->transport->ops->write(c, now, lane, slices, n);
}

void roam_conn_lane_fin(roam_conn *c, roam_time now, uint32_t lane) { c->transport->ops->lane_fin(c, now, lane); }

void roam_conn_lane_reset(roam_conn *c, roam_time now, uint32_t lane, uint64_t code) {
  c->transport->ops->lane_reset(c, now, lane, code);
}

void roam_conn_close(roam_conn *c, roam_time now, uint64_t code, bool flush) {
  c->transport->ops->close(c, now, code, flush);
}

void roam_conn_release(roam_conn *c) {
  if (c) c->transport->ops->release(c);
}

roam_rc roam_conn_migrate(roam_conn *c, roam_time now, const roam_addr *local, const char *interface,
                          roam_migrate_how how) {
  return c->transport->ops->migrate(c, now, local, interface, how);
}

void roam_conn_ping(roam_conn *c, roam_time now) { c->transport->ops->ping(c, now); }

void roam_conn_lane_weight(roam_conn *c, uint32_t lane, uint32_t weight) {
  if (c->transport->ops->lane_weight) c->transport->ops->lane_weight(c, lane, weight);
}

size_t roam_conn_datagram_room(const roam_conn *c) {
  return c->transport->ops->datagram_room ? c->transport->ops->datagram_room(c) : 0;
}

roam_rc roam_conn_datagram_write(roam_conn *c, roam_time now, roam_bytes datagram) {
  return c->transport->ops->datagram_write ? c->transport->ops->datagram_write(c, now, datagram) : ROAM_E_UNSUPPORTED;
}

roam_bytes roam_conn_datagram_peek(const roam_conn *c, bool *some) {
  *some = false;
  return c->transport->ops->datagram_peek ? c->transport->ops->datagram_peek(c, some) : (roam_bytes){0};
}

void roam_conn_datagram_pop(roam_conn *c) {
  if (c->transport->ops->datagram_pop) c->transport->ops->datagram_pop(c);
}

const char *roam_conn_alpn(const roam_conn *c) { return c->transport->ops->alpn ? c->transport->ops->alpn(c) : ""; }

uint64_t roam_conn_lanes_held(const roam_conn *c) {
  return c->transport->ops->lanes_held ? c->transport->ops->lanes_held(c) : 0;
}

roam_conn_cost roam_conn_memory(const roam_conn *c) { return c->transport->ops->memory(c); }

void roam_conn_set_ping(roam_conn *c, roam_time now, uint64_t ping_ns) {
  if (c->transport->ops->set_ping) c->transport->ops->set_ping(c, now, ping_ns);
}

roam_rc roam_conn_resume(roam_conn *c, const roam_resume *r) {
  return c->transport->ops->resume ? c->transport->ops->resume(c, r) : ROAM_E_UNSUPPORTED;
}

roam_resume roam_conn_learned(const roam_conn *c) {
  return c->transport->ops->learned ? c->transport->ops->learned(c) : (roam_resume){0};
}

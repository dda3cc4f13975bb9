/* quic_conn.c - one QUIC connection: born, read into, timed, ended. What the library's callbacks asked for is done in
 * settle, after it has returned; the one way to the end is roam_quic_conn_end. It refuses to open sockets (quic_path.c asks
 * for them) and to decide when to move. */
#include "transport/quic.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/trace.h"

#define FLUSH_NS (3 * ROAM_S)
#define BRISK_FIRST_NS (300 * ROAM_MS) /* then twice as long each time: an idle connection that moves costs few packets */
#define BRISK_LAST_NS (1200 * ROAM_MS)
enum {
  CLIENT_DCID_BYTES = 18,
  PACKET_MAX = 1500
};

/* ---- birth ------------------------------------------------------------------------------------------------------------
 */

struct roam_quic_conn *roam_quic_conn_new(struct roam_quic *q, bool server) {
  if (roam_heap_reserve(&q->timers, q->conns + 1) != 0) return NULL;
  struct roam_quic_conn *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  c->conn.transport = &q->transport;
  c->conn.number = ++q->number_next;
  c->server = server;
  c->state = server ? ROAM_QUIC_HANDSHAKE : ROAM_QUIC_BINDING;
  c->connect_by = q->now + q->o.connect_timeout_ns;
  c->flush_by = c->ping_at = c->brisk_at = c->unanswered_since = ROAM_NEVER;
  c->ping_ns = q->o.ping_ns;
  roam_list_init(&c->active);
  roam_list_init(&c->eventful);
  roam_list_init(&c->cids);
  roam_list_init(&c->lanes);
  roam_list_push_back(&q->all, &c->all);
  q->conns++;
  roam_quic_datagrams_init(c);
  roam_quic_memory_init(c);
  roam_quic_mtu_begin(c);
  c->control = roam_quic_lane_new(c, 0);
  if (c->control) return c;
  roam_quic_conn_free(c);
  return NULL;
}

static void uncount(struct roam_quic_conn *c) {
  if (!c->counted) return;
  c->counted = false;
  roam_quic_of(c)->handshakes--;
}

void roam_quic_conn_drop(struct roam_quic_conn *c) {
  if (c->nc) ngtcp2_conn_del(c->nc);
  c->nc = NULL;
  roam_quic_session_reset(&c->tls);
}

static void drop_cids(struct roam_quic_conn *c) {
  struct roam_quic *q = roam_quic_of(c);
  ROAM_LIST_EACH(&c->cids, node) {
    struct roam_quic_cid *cid = ROAM_CONTAINER(node, struct roam_quic_cid, node);
    roam_quic_cid_remove(q, cid->bytes, cid->len);
  }
}

void roam_quic_conn_free(struct roam_quic_conn *c) {
  struct roam_quic *q = roam_quic_of(c);
  uncount(c);
  roam_quic_conn_drop(c);
  roam_quic_visit_free(c);
  roam_quic_qlog_free(c->qlog);
  drop_cids(c);
  roam_quic_datagrams_reset(c);
  ROAM_LIST_EACH(&c->lanes, node) roam_quic_lane_free(ROAM_CONTAINER(node, struct roam_quic_lane, node));
  for (size_t i = 0; i < ROAM_QUIC_PATHS; i++)
    if (c->paths[i].state != ROAM_PATH_FREE) roam_map64_remove(&q->handles, c->paths[i].handle);
  if (c->listener) roam_quic_listener_leave(c->listener);
  roam_heap_remove(&q->timers, &c->timer);
  roam_list_remove(&c->all);
  roam_list_remove(&c->active);
  roam_list_remove(&c->eventful);
  q->conns--;
  free(c->tls.subject);
  free(c->server_name);
  free(c);
}

void roam_quic_conn_set_ping(struct roam_quic_conn *c) {
  uint64_t ping_ns = c->ping_ns ? c->ping_ns : UINT64_MAX;
  if (c->brisk_at != ROAM_NEVER && ping_ns > c->brisk_ns) ping_ns = c->brisk_ns;
  ngtcp2_conn_set_keep_alive_timeout(c->nc, ping_ns);
}

static int make_client(struct roam_quic_conn *c, const ngtcp2_path *path) {
  struct roam_quic *q = roam_quic_of(c);
  ngtcp2_settings settings;
  ngtcp2_transport_params params;
  ngtcp2_callbacks callbacks;
  ngtcp2_cid dcid, none = {0}; /* no id of ours: one socket per path tells whose a datagram is */
  struct roam_quic_token token;
  dcid.datalen = CLIENT_DCID_BYTES;
  roam_random_fill(q->o.random, dcid.data, dcid.datalen);
  roam_quic_callbacks_fill(&callbacks, false);
  roam_quic_settings_fill(q, &settings, &params, false);
  if (roam_quic_token_take(q, &c->remote, &token)) {
    settings.token = token.bytes;
    settings.tokenlen = token.len;
    settings.token_type = NGTCP2_TOKEN_TYPE_NEW_TOKEN;
  }
  roam_quic_visit_settings(c, &settings);
  roam_quic_qlog_attach(c, &settings, &dcid);
  int rv = ngtcp2_conn_client_new(&c->nc, &dcid, &none, path, NGTCP2_PROTO_VER_V1, &callbacks, &settings, &params,
                                  &c->memory, c);
  if (rv != 0) c->nc = NULL; /* ngtcp2 leaves what it has freed there */
  return rv;
}

void roam_quic_conn_start_client(struct roam_quic_conn *c, struct roam_quic_path *path) {
  struct roam_quic *q = roam_quic_of(c);
  ngtcp2_path_storage ps;
  c->local = path->local;
  roam_quic_path_from(&ps, &c->local, &c->remote, path->handle);
  roam_rc rc = make_client(c, &ps.path) == 0 ? 0 : ROAM_E_MEMORY;
  if (rc == 0)
    rc = roam_quic_session_init(&c->tls, &q->tls, c->nc, false, c->server_name, c->text, &q->now,
                                roam_quic_visit_early(c) ? c->visit->alpn : NULL);
  if (rc != 0) {
    roam_quic_conn_end(c, rc, "the connection could not be set up", NULL);
    return;
  }
  roam_quic_conn_set_ping(c);
  c->state = ROAM_QUIC_HANDSHAKE;
  roam_quic_visit_begin(c);
  roam_quic_activate(q, c);
}

/* Where clients should go: with a connection id of its own, as RFC 9000 section 9.6 wants. */
static int offer_preferred(struct roam_quic_conn *c, ngtcp2_transport_params *params) {
  struct roam_quic *q = roam_quic_of(c);
  const roam_addr *v4 = &q->o.preferred[0], *v6 = &q->o.preferred[1];
  ngtcp2_preferred_addr *p = &params->preferred_addr;
  if (v4->family == 0 && v6->family == 0) return 0;
  params->preferred_addr_present = 1;
  p->cid.datalen = q->ids.len;
  roam_quic_ids_make(&q->ids, p->cid.data);
  if (v4->family) {
    p->ipv4_present = 1;
    p->ipv4.sin_family = AF_INET;
    p->ipv4.sin_port = htons(v4->port);
    memcpy(&p->ipv4.sin_addr, v4->ip, 4);
  }
  if (v6->family) {
    p->ipv6_present = 1;
    p->ipv6.sin6_family = AF_INET6;
    p->ipv6.sin6_port = htons(v6->port);
    memcpy(&p->ipv6.sin6_addr, v6->ip, 16);
  }
  int rv = ngtcp2_crypto_generate_stateless_reset_token(p->stateless_reset_token, q->o.secret, sizeof q->o.secret, &p->cid);
  if (rv != 0) return rv;
  return roam_quic_cid_add(q, c, p->cid.data, p->cid.datalen) == 0 ? 0 : NGTCP2_ERR_NOMEM;
}

static int make_server(struct roam_quic_conn *c, const ngtcp2_path *path, const struct roam_quic_birth *birth) {
  struct roam_quic *q = roam_quic_of(c);
  ngtcp2_settings settings;
  ngtcp2_transport_params params;
  ngtcp2_callbacks callbacks;
  ngtcp2_cid scid;
  roam_quic_callbacks_fill(&callbacks, true);
  roam_quic_settings_fill(q, &settings, &params, true);
  c->token_good = birth->token.len > 0;
  settings.token = birth->token.base;
  settings.tokenlen = birth->token.len;
  settings.token_type = birth->token_type;
  roam_quic_qlog_attach(c, &settings, birth->original);
  scid.datalen = q->ids.len;
  roam_quic_ids_make(&q->ids, scid.data);
  params.original_dcid = *birth->original;
  params.original_dcid_present = 1;
  if (birth->retry) {
    params.retry_scid = *birth->retry;
    params.retry_scid_present = 1;
  }
  params.stateless_reset_token_present = 1;
  int rv =
      ngtcp2_crypto_generate_stateless_reset_token(params.stateless_reset_token, q->o.secret, sizeof q->o.secret, &scid);
  if (rv != 0) return rv;
  rv = offer_preferred(c, &params);
  if (rv != 0) return rv;
  if (roam_quic_cid_add(q, c, scid.data, scid.datalen) != 0) return NGTCP2_ERR_NOMEM;
  /* The client's own choice of our id: its first packets carry it until it has heard ours. */
  if (roam_quic_cid_add(q, c, birth->hd->dcid.data, birth->hd->dcid.datalen) != 0) return NGTCP2_ERR_NOMEM;
  rv = ngtcp2_conn_server_new(&c->nc, &birth->hd->scid, &scid, path, birth->hd->version, &callbacks, &settings, &params,
                              &c->memory, c);
  if (rv != 0) c->nc = NULL; /* as above */
  return rv;
}

roam_rc roam_quic_conn_start_server(struct roam_quic_conn *c, struct roam_quic_listener *l, const ngtcp2_path *path,
                                    const struct roam_quic_birth *birth) {
  struct roam_quic *q = roam_quic_of(c);
  c->listener = l;
  l->users++;
  c->counted = true;
  q->handshakes++;
  c->retried = birth->retry != NULL;
  c->local = roam_quic_addr_of(&path->local);
  c->remote = roam_quic_addr_of(&path->remote);
  int rv = make_server(c, path, birth);
  if (rv != 0) return rv == NGTCP2_ERR_NOMEM ? ROAM_E_MEMORY : ROAM_E_INTERNAL;
  roam_rc rc = roam_quic_session_init(&c->tls, &q->tls, c->nc, true, NULL, c->text, &q->now, NULL);
  if (rc == 0) roam_quic_conn_set_ping(c);
  return rc;
}

/* ---- the end ----------------------------------------------------------------------------------------------------------
 */

static void close_lanes(struct roam_quic_conn *c) {
  ROAM_LIST_EACH(&c->lanes, node) {
    struct roam_quic_lane *l = ROAM_CONTAINER(node, struct roam_quic_lane, node);
    roam_quic_lane_stream_closed(l, false, 0);
    l->events &= (uint8_t)~LANE_HAS_WRITABLE;
  }
}

/* Writes the last words and hands what must outlive the library's connection to the endpoint. */
static void say_goodbye(struct roam_quic_conn *c, const ngtcp2_ccerr *ccerr) {
  struct roam_quic *q = roam_quic_of(c);
  uint8_t packet[PACKET_MAX];
  ngtcp2_path_storage ps;
  ngtcp2_pkt_info info = {0};
  ngtcp2_ssize n = 0;
  ngtcp2_path_storage_zero(&ps);
  if (ccerr) n = ngtcp2_conn_write_connection_close(c->nc, &ps.path, &info, packet, sizeof packet, ccerr, q->now);
  if (n > 0) roam_quic_qlog_datagram(c->qlog, q->now, true, (roam_bytes){packet, (size_t)n});
  roam_time until = q->now + 3 * ngtcp2_conn_get_pto(c->nc);
  roam_quic_closing_keep(q, c, until, (roam_bytes){packet, n > 0 ? (size_t)n : 0});
}

static void log_end(struct roam_quic_conn *c, const ngtcp2_ccerr *ours) {
  const ngtcp2_ccerr *e = c->by_peer && c->nc && !c->stateless_reset ? ngtcp2_conn_get_ccerr(c->nc) : ours;
  struct roam_quic_qlog_end end = {.by_peer = c->by_peer, .text = c->text};
  if (e) {
    end.said = true;
    end.application = e->type == NGTCP2_CCERR_TYPE_APPLICATION;
    end.code = e->error_code;
  }
  roam_quic_qlog_closed(c->qlog, roam_quic_of(c)->now, &end);
  roam_quic_qlog_free(c->qlog);
  c->qlog = NULL;
}

void roam_quic_conn_end(struct roam_quic_conn *c, roam_rc rc, const char *text, const ngtcp2_ccerr *ccerr) {
  struct roam_quic *q = roam_quic_of(c);
  if (c->state == ROAM_QUIC_CLOSED) return;
  c->state = ROAM_QUIC_CLOSED;
  c->rc = rc;
  if (text && text != c->text) snprintf(c->text, sizeof c->text, "%s", text);
  uncount(c);
  if (c->nc) say_goodbye(c, ccerr);
  log_end(c, ccerr);
  roam_quic_path_end(c);
  roam_quic_conn_drop(c);
  drop_cids(c);
  close_lanes(c);
  roam_quic_datagrams_forget_out(c);
  roam_heap_remove(&q->timers, &c->timer);
  if (c->listener) roam_quic_listener_leave(c->listener);
  c->listener = NULL;
  roam_trace(&q->o.log, q->now, QUIC_CLOSED, .connection = c->conn.number, .result = rc == 0 ? "ok" : roam_error_name(rc),
             .why = c->text[0] ? c->text : NULL);
  c->events |= CONN_HAS_CLOSED;
  roam_quic_announce(q, c);
  roam_quic_activate(q, c); /* sockets to unbind */
}

static void end_by_peer(struct roam_quic_conn *c) {
  const ngtcp2_ccerr *e = ngtcp2_conn_get_ccerr(c->nc);
  bool handshaking = c->state == ROAM_QUIC_HANDSHAKE || !c->confirmed;
  c->by_peer = true;
  if (c->stateless_reset) {
    roam_quic_conn_end(c, ROAM_E_LOST, "the peer does not know this connection any more (was it restarted?)", NULL);
    return;
  }
  c->code = e->error_code;
  roam_bytes reason = {e->reason, e->reasonlen};
  roam_rc rc;
  if (e->type == NGTCP2_CCERR_TYPE_APPLICATION) {
    rc = e->error_code == 0 || c->state == ROAM_QUIC_FLUSHING ? 0 : ROAM_E_PEER_CLOSED;
    snprintf(c->text, sizeof c->text, "closed by the peer with application code %" PRIu64, e->error_code);
  } else {
    rc = roam_error_from_quic(e->error_code, handshaking, reason, c->text);
  }
  roam_quic_conn_end(c, rc, NULL, NULL);
}

static void end_by_crypto(struct roam_quic_conn *c, int liberr) {
  ngtcp2_ccerr ccerr;
  uint8_t alert = ngtcp2_conn_get_tls_alert(c->nc);
  ngtcp2_ccerr_default(&ccerr);
  if (alert) ngtcp2_ccerr_set_tls_alert(&ccerr, alert, NULL, 0);
  else ngtcp2_ccerr_set_liberr(&ccerr, liberr, NULL, 0);
  c->code = ccerr.error_code;
  if (c->tls.rc == 0 && alert == GNUTLS_A_CERTIFICATE_REQUIRED) {
    c->tls.rc = ROAM_E_CERTIFICATE;
    snprintf(c->text, sizeof c->text, "the client has no certificate, or none of an authority we accept");
  } else if (c->tls.rc == 0) {
    c->tls.rc = ROAM_E_TLS;
    snprintf(c->text, sizeof c->text, "TLS handshake failed (alert %u)", alert);
  }
  roam_quic_conn_end(c, c->tls.rc, c->text, &ccerr);
}

static void end_by_timeout(struct roam_quic_conn *c, bool idle) {
  ngtcp2_ccerr ccerr;
  char where[ROAM_ADDR_TEXT_MAX];
  roam_addr_format(&c->remote, where);
  ngtcp2_ccerr_default(&ccerr);
  if (idle) snprintf(c->text, sizeof c->text, "nothing heard from %s for too long (idle timeout)", where);
  else if (!c->heard) snprintf(c->text, sizeof c->text, "no answer over UDP from %s", where);
  else snprintf(c->text, sizeof c->text, "the handshake with %s did not end in time", where);
  roam_quic_conn_end(c, ROAM_E_TIMEOUT, NULL, idle || !c->heard ? NULL : &ccerr);
}

void roam_quic_conn_fail(struct roam_quic_conn *c, int liberr) {
  ngtcp2_ccerr ccerr;
  if (roam_quic_visit_retry(c, liberr)) return;
  ngtcp2_ccerr_default(&ccerr);
  ngtcp2_ccerr_set_liberr(&ccerr, liberr, NULL, 0);
  switch (liberr) {
    case NGTCP2_ERR_DRAINING: end_by_peer(c); return;
    case NGTCP2_ERR_CRYPTO: end_by_crypto(c, liberr); return;
    case NGTCP2_ERR_IDLE_CLOSE: end_by_timeout(c, true); return;
    case NGTCP2_ERR_HANDSHAKE_TIMEOUT: end_by_timeout(c, false); return;
    case NGTCP2_ERR_RECV_VERSION_NEGOTIATION:
      roam_quic_conn_end(c, ROAM_E_VERSION, "the server does not speak QUIC version 1", NULL);
      return;
    case NGTCP2_ERR_DROP_CONN:
    case NGTCP2_ERR_RETRY: roam_quic_conn_end(c, ROAM_E_PROTOCOL, "the peer's first packets were unusable", NULL); return;
    case NGTCP2_ERR_NOMEM: roam_quic_conn_end(c, ROAM_E_MEMORY, "out of memory", &ccerr); return;
    case NGTCP2_ERR_CALLBACK_FAILURE:
      if (c->callback_rc == 0) end_by_crypto(c, liberr);
      else roam_quic_conn_end(c, c->callback_rc, roam_strerror(c->callback_rc), &ccerr);
      return;
    default: break;
  }
  c->code = ccerr.error_code;
  snprintf(c->text, sizeof c->text, "the peer broke the rules of QUIC (%s)", ngtcp2_strerror(liberr));
  roam_quic_conn_end(c, ROAM_E_PROTOCOL, NULL, &ccerr);
}

static void finish_close(struct roam_quic_conn *c) {
  ngtcp2_ccerr ccerr;
  ngtcp2_ccerr_default(&ccerr);
  ngtcp2_ccerr_set_application_error(&ccerr, c->code, NULL, 0);
  roam_quic_conn_end(c, 0, NULL, &ccerr);
}

void roam_quic_conn_close(struct roam_quic_conn *c, uint64_t code, bool flush) {
  if (c->state == ROAM_QUIC_CLOSED || (c->state == ROAM_QUIC_FLUSHING && flush)) return;
  c->code = code;
  bool owed = c->control && !c->control->dead_out && roam_sendq_held(&c->control->tx) > 0;
  if (!flush || !owed || !roam_quic_conn_usable(c)) {
    finish_close(c);
    return;
  }
  c->state = ROAM_QUIC_FLUSHING;
  c->flush_by = roam_quic_of(c)->now + FLUSH_NS;
  roam_quic_lane_fin(c->control);
  roam_quic_activate(roam_quic_of(c), c);
}

/* ---- what the callbacks asked for -------------------------------------------------------------------------------------
 */

void roam_quic_conn_open_control(struct roam_quic_conn *c) {
  int64_t stream;
  if (c->control->open || c->server) return;
  if (ngtcp2_conn_open_bidi_stream(c->nc, &stream, c->control) != 0) return; /* until the server grants one */
  c->control->open = true;
}

static void announce_open(struct roam_quic_conn *c) {
  struct roam_quic *q = roam_quic_of(c);
  c->alpn = roam_quic_session_alpn(&c->tls);
  if (!c->alpn) {
    ngtcp2_ccerr ccerr;
    ngtcp2_ccerr_default(&ccerr);
    ngtcp2_ccerr_set_tls_alert(&ccerr, GNUTLS_A_NO_APPLICATION_PROTOCOL, NULL, 0);
    roam_quic_conn_end(c, ROAM_E_ALPN, roam_strerror(ROAM_E_ALPN), &ccerr);
    return;
  }
  roam_quic_conn_open_control(c);
  if (!c->server && !c->control->open) return;
  uncount(c);
  c->state = ROAM_QUIC_OPEN;
  c->text[0] = '\0'; /* what was said of a certificate that did not matter */
  c->connect_by = ROAM_NEVER;
  if (!c->server) c->retried = ngtcp2_conn_after_retry(c->nc) != 0;
  else {
    const ngtcp2_cid *original = ngtcp2_conn_get_client_initial_dcid(c->nc);
    roam_quic_cid_remove(q, original->data, original->datalen);
    roam_quic_conn_proved(c);
  }
  if (c->server && c->early) return; /* told when the early data came */
  c->events |= CONN_HAS_OPENED;
  roam_quic_announce(q, c);
}

/* Early data of an accepted ticket: what it says may be answered before the handshake is done. */
static void announce_early(struct roam_quic_conn *c) {
  if (c->events & CONN_HAS_OPENED || c->early_accepted) return;
  c->alpn = roam_quic_session_alpn(&c->tls);
  if (!c->alpn) return;
  c->early_accepted = true;
  roam_quic_of(c)->totals.early_accepted++;
  c->events |= CONN_HAS_OPENED;
  roam_quic_announce(roam_quic_of(c), c);
}

/* A server needs its TLS session no more: keys are updated without it, and what comes in CRYPTO frames is refused. Who the
 * client is by its certificate, if by any, is kept as text. */
static void give_back_tls(struct roam_quic_conn *c) {
  c->tls_done = true;
  ngtcp2_conn_set_tls_native_handle(c->nc, NULL);
  roam_quic_session_reset(&c->tls);
}

static void submit_token(struct roam_quic_conn *c) {
  struct roam_quic *q = roam_quic_of(c);
  uint8_t token[NGTCP2_CRYPTO_MAX_REGULAR_TOKENLEN];
  ngtcp2_path_storage ps;
  c->token_due = false;
  roam_quic_path_from(&ps, &c->local, &c->remote, 0);
  ngtcp2_ssize n = ngtcp2_crypto_generate_regular_token(token, q->o.secret, sizeof q->o.secret, ps.path.remote.addr,
                                                        ps.path.remote.addrlen, roam_quic_token_time(q));
  if (n > 0) ngtcp2_conn_submit_new_token(c->nc, token, (size_t)n);
}

static void log_path(const struct roam_quic_conn *c, const struct roam_quic_path_event *e) {
  const char *what = e->kind == ROAM_TE_PATH_PROBING  ? "path_probing"
                     : e->kind == ROAM_TE_PATH_FAILED ? "path_failed"
                                                      : "path_updated";
  if (c->qlog) roam_quic_qlog_path(c->qlog, roam_quic_of(c)->now, what, &e->local, &e->remote);
}

void roam_quic_conn_path_event(struct roam_quic_conn *c, const struct roam_quic_path_event *e) {
  log_path(c, e);
  if (c->path_events_count == ROAM_QUIC_PATH_EVENTS) { /* nobody polls: keep the first "before" and the last "now" */
    struct roam_quic_path_event *last = &c->path_events[ROAM_QUIC_PATH_EVENTS - 1];
    roam_addr old_local = last->old_local, old_remote = last->old_remote;
    *last = *e;
    last->old_local = old_local;
    last->old_remote = old_remote;
  } else {
    c->path_events[c->path_events_count++] = *e;
  }
  roam_quic_announce(roam_quic_of(c), c);
}

void roam_quic_conn_be_brisk(struct roam_quic_conn *c) {
  if (!c->nc) return;
  c->brisk_ns = BRISK_FIRST_NS;
  c->brisk_at = roam_quic_of(c)->now + 2 * c->brisk_ns; /* one ping at least */
  roam_quic_conn_set_ping(c);
}

static void calm_down(struct roam_quic_conn *c) {
  c->brisk_ns *= 2;
  c->brisk_at = c->brisk_ns <= BRISK_LAST_NS ? roam_quic_of(c)->now + 2 * c->brisk_ns : ROAM_NEVER;
  if (c->nc) roam_quic_conn_set_ping(c);
}

void roam_quic_conn_proved(struct roam_quic_conn *c) {
  c->events |= CONN_HAS_PROVED;
  roam_quic_announce(roam_quic_of(c), c);
}

/* Has the library changed to another path? A server follows its client; a client's own moves are quic_path.c's to tell. */
static void note_path(struct roam_quic_conn *c) {
  const ngtcp2_path *path = ngtcp2_conn_get_path(c->nc);
  if (roam_quic_addr_is(&path->remote, &c->remote) && roam_quic_addr_is(&path->local, &c->local)) return;
  roam_addr local = roam_quic_addr_of(&path->local), remote = roam_quic_addr_of(&path->remote);
  struct roam_quic_path_event e = {ROAM_TE_PEER_MOVED, 0, NULL, local, remote, c->local, c->remote, 0};
  bool moved = !roam_quic_addr_is(&path->remote, &c->remote);
  c->local = local;
  c->remote = remote;
  if (c->server && moved) roam_quic_mtu_follow(c, &e.old_remote);
  else roam_quic_mtu_begin(c);
  roam_quic_conn_be_brisk(c);
  if (!c->server || !moved) return;
  c->migrations++;
  roam_quic_conn_path_event(c, &e);
}

static void answer_resets(struct roam_quic_conn *c) {
  c->resets_wanted = false;
  ROAM_LIST_EACH(&c->lanes, node) {
    struct roam_quic_lane *l = ROAM_CONTAINER(node, struct roam_quic_lane, node);
    if (!l->reset_wanted) continue;
    l->reset_wanted = false;
    l->dead_out = true;
    if (l->open) ngtcp2_conn_shutdown_stream_write(c->nc, 0, l->stream, l->code);
  }
}

void roam_quic_conn_settle(struct roam_quic_conn *c) {
  if (!c->nc) return;
  note_path(c);
  roam_quic_qlog_settle(c->qlog, roam_quic_of(c)->now, c->nc);
  if (c->server && c->early && c->state == ROAM_QUIC_HANDSHAKE) announce_early(c);
  if (c->completed && c->state == ROAM_QUIC_HANDSHAKE) announce_open(c);
  if (c->nc && c->server && c->completed && !c->tls_done && c->state != ROAM_QUIC_CLOSED) give_back_tls(c);
  if (c->nc && !c->server && c->confirmed && !c->preferred_settled) roam_quic_path_prefer(c);
  if (c->nc && c->tls.ticket) roam_quic_visit_ticket(c);
  if (c->nc && c->resets_wanted) answer_resets(c);
  if (c->nc && c->token_due && c->confirmed) submit_token(c);
  if (c->state != ROAM_QUIC_FLUSHING) return;
  const struct roam_quic_lane *l = c->control;
  if (!l || l->dead_out || roam_sendq_held(&l->tx) == 0) finish_close(c);
}

/* ---- datagrams and time -----------------------------------------------------------------------------------------------
 */

int roam_quic_conn_read(struct roam_quic_conn *c, const ngtcp2_path *path, uint8_t ecn, const uint8_t *data, size_t len) {
  struct roam_quic *q = roam_quic_of(c);
  ngtcp2_pkt_info info = {.ecn = ecn};
  if (!c->nc) return 0;
  if (c->server && !q->o.follow_paths && !roam_quic_addr_is(&path->remote, &c->remote)) return 0;
  roam_quic_qlog_datagram(c->qlog, q->now, false, (roam_bytes){data, len});
  int rv = ngtcp2_conn_read_pkt(c->nc, path, &info, data, len, q->now);
  c->bytes_in += len;
  c->udp_in++;
  if (!c->completed) c->handshake_in += len;
  if (rv == NGTCP2_ERR_RETRY || rv == NGTCP2_ERR_DROP_CONN) return rv;
  c->heard = true;
  roam_quic_path_heard(c);
  c->heard_at = q->now;
  c->unanswered_since = ROAM_NEVER; /* the next write looks whether something still is under way */
  if (rv != 0) {
    roam_quic_conn_fail(c, rv);
    return rv;
  }
  roam_quic_conn_settle(c);
  roam_quic_mtu_heard(c, path, len);
  roam_quic_activate(q, c);
  return 0;
}

static bool expire_ours(struct roam_quic_conn *c, roam_time now) {
  if (now >= c->connect_by) {
    end_by_timeout(c, false);
    return true;
  }
  if (now >= c->flush_by) {
    finish_close(c);
    return true;
  }
  if (now >= c->ping_at) {
    c->ping_at = ROAM_NEVER;
    c->ping = true;
  }
  if (now >= c->brisk_at) calm_down(c);
  roam_quic_mtu_expire(c);
  return false;
}

void roam_quic_conn_expire(struct roam_quic_conn *c) {
  struct roam_quic *q = roam_quic_of(c);
  if (c->state == ROAM_QUIC_CLOSED || expire_ours(c, q->now)) return;
  roam_quic_path_tick(c);
  if (c->nc && ngtcp2_conn_get_expiry(c->nc) <= q->now) {
    int rv = ngtcp2_conn_handle_expiry(c->nc, q->now);
    if (rv != 0) {
      roam_quic_conn_fail(c, rv);
      return;
    }
    roam_quic_conn_settle(c);
  }
  roam_quic_activate(q, c);
}

static roam_time earlier(roam_time a, roam_time b) { return a < b ? a : b; }

void roam_quic_conn_arm(struct roam_quic_conn *c) {
  struct roam_quic *q = roam_quic_of(c);
  if (c->state == ROAM_QUIC_CLOSED) return;
  roam_time at = earlier(earlier(c->connect_by, c->flush_by), earlier(c->ping_at, c->brisk_at));
  at = earlier(earlier(at, roam_quic_path_deadline(c)), roam_quic_mtu_deadline(c));
  at = earlier(at, roam_quic_conn_paced_until(c));
  if (c->nc) at = earlier(at, ngtcp2_conn_get_expiry(c->nc));
  roam_heap_set(&q->timers, &c->timer, at); /* cannot fail: reserved at birth */
}

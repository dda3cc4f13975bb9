/* quic_resume.c - a client's second visit: what it knows of a server from earlier connections (a ticket with the transport
 * parameters that go with it, an address token, a round-trip time), early data, and what it learns for the next visit.
 *
 * Theory of operation. The owner dials and gives what it knows (roam_conn_resume). When the socket is bound, the ticket
 * goes to GnuTLS and its parameters to ngtcp2; the control lane is opened at once and ROAM_TE_EARLY tells the owner that it
 * may write: those bytes leave in the first flight. When the handshake ends the server has said whether it took them. If
 * not, ngtcp2 has forgotten every stream, so the control lane is wound back to its first byte and sent again: the owner
 * sees one ordered lane either way, and ROAM_TE_OPENED with the verdict in roam_conn_info.
 *
 * A ticket can be the reason why a handshake fails, on our side (GnuTLS fails its own handshake over one it finds expired)
 * or by a TLS alert of the server's. Then the connection is begun once more without it, on the same socket.
 *
 * It refuses to keep anything beyond its connection and to judge how old a ticket may be: both are the owner's. */
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"
#include "transport/quic.h"

#define RTT_LEAST (100 * ROAM_MS)
#define RTT_MOST (333 * ROAM_MS)
enum {
  PARAMS_MAX = 256,
  ALERT_FIRST = 0x100,
  ALERT_LAST = 0x1ff
};

static roam_blob *copy(roam_bytes b) { return b.len > 0 ? roam_blob_new(b.base, b.len) : NULL; }

static roam_bytes view(roam_blob *b) { return b ? (roam_bytes){roam_blob_data(b), roam_blob_len(b)} : (roam_bytes){0}; }

static void drop(roam_blob **b) {
  roam_blob_unref(*b);
  *b = NULL;
}

void roam_quic_visit_free(struct roam_quic_conn *c) {
  struct roam_quic_visit *v = c->visit;
  if (!v) return;
  drop(&v->session);
  drop(&v->params);
  drop(&v->token);
  drop(&v->new_session);
  drop(&v->new_params);
  drop(&v->new_token);
  free(v);
  c->visit = NULL;
}

static struct roam_quic_visit *visit_of(struct roam_quic_conn *c) {
  if (!c->visit) c->visit = calloc(1, sizeof *c->visit);
  return c->visit;
}

roam_rc roam_quic_conn_resume(struct roam_quic_conn *c, const roam_resume *r) {
  if (c->server || c->state != ROAM_QUIC_BINDING) return ROAM_E_STATE;
  struct roam_quic_visit *v = visit_of(c);
  if (!v) return ROAM_E_MEMORY;
  drop(&v->session);
  drop(&v->params);
  drop(&v->token);
  v->rtt_ns = r->rtt_ns;
  v->token = copy(r->token);
  v->session = copy(r->session);
  v->params = copy(r->params);
  v->alpn = roam_quic_tls_alpn(&roam_quic_of(c)->tls, r->alpn);
  v->early = r->early_data && v->session && v->params && v->alpn;
  return 0; /* without memory it knows less and that is all */
}

/* ---- the first flight ------------------------------------------------------------------------------------------------ */

bool roam_quic_visit_early(const struct roam_quic_conn *c) { return c->visit && c->visit->early; }

void roam_quic_visit_settings(const struct roam_quic_conn *c, ngtcp2_settings *settings) {
  const struct roam_quic_visit *v = c->visit;
  if (!v) return;
  if (v->rtt_ns > 0) {
    uint64_t guess = v->rtt_ns > RTT_MOST ? RTT_MOST : 2 * v->rtt_ns;
    settings->initial_rtt = guess < RTT_LEAST ? RTT_LEAST : guess > RTT_MOST ? RTT_MOST : guess;
  }
  if (!v->token || settings->tokenlen > 0) return;
  settings->token = roam_blob_data(v->token);
  settings->tokenlen = roam_blob_len(v->token);
  settings->token_type = NGTCP2_TOKEN_TYPE_NEW_TOKEN;
}

void roam_quic_visit_begin(struct roam_quic_conn *c) {
  struct roam_quic_visit *v = c->visit;
  if (!v || !v->session) return;
  if (!roam_quic_session_give_ticket(&c->tls, view(v->session))) {
    drop(&v->session);
    v->early = false;
    return;
  }
  v->used = true;
  roam_bytes params = view(v->params);
  if (!v->early) return;
  v->early = ngtcp2_conn_decode_and_set_0rtt_transport_params(c->nc, params.base, params.len) == 0;
  if (!v->early) return;
  roam_quic_conn_open_control(c);
  if (!c->control->open) {
    v->early = false;
    return;
  }
  if (c->early) return; /* told before a fresh start */
  c->early = true;
  c->alpn = v->alpn;
  c->events |= CONN_HAS_EARLY;
  roam_quic_announce(roam_quic_of(c), c);
}

/* ---- the verdict ----------------------------------------------------------------------------------------------------- */

static void wind_back(struct roam_quic_conn *c) {
  c->control->open = false;
  c->control->fin_sent = false;
  roam_sendq_rewind(&c->control->tx);
}

int roam_quic_visit_completed(struct roam_quic_conn *c) {
  struct roam_quic *q = roam_quic_of(c);
  c->resumed = gnutls_session_is_resumed(c->tls.handle) != 0;
  if (!roam_quic_visit_early(c)) return 0;
  c->early_accepted = (gnutls_session_get_flags(c->tls.handle) & GNUTLS_SFLAGS_EARLY_DATA) != 0;
  c->early_rejected = !c->early_accepted;
  if (c->early_accepted) return 0;
  roam_trace(&q->o.log, q->now, EARLY_REJECTED, .connection = c->conn.number);
  int rv = ngtcp2_conn_tls_early_data_rejected(c->nc);
  wind_back(c);
  return rv;
}

/* Is the failure one that the ticket may have caused? */
static bool blames_ticket(const struct roam_quic_conn *c, int liberr) {
  switch (liberr) {
    case NGTCP2_ERR_CALLBACK_FAILURE:
    case NGTCP2_ERR_CRYPTO:
    case NGTCP2_ERR_INTERNAL: return c->callback_rc == 0 && c->tls.rc == 0;
    case NGTCP2_ERR_DRAINING: break;
    default: return false;
  }
  const ngtcp2_ccerr *e = ngtcp2_conn_get_ccerr(c->nc);
  return e->type == NGTCP2_CCERR_TYPE_TRANSPORT && e->error_code >= ALERT_FIRST && e->error_code <= ALERT_LAST;
}

bool roam_quic_visit_retry(struct roam_quic_conn *c, int liberr) {
  struct roam_quic *q = roam_quic_of(c);
  struct roam_quic_visit *v = c->visit;
  if (!v || !v->used || c->completed || c->state != ROAM_QUIC_HANDSHAKE || !blames_ticket(c, liberr)) return false;
  struct roam_quic_path *path = roam_quic_path_current(c);
  if (!path) return false;
  roam_trace(&q->o.log, q->now, TICKET_FAILED, .connection = c->conn.number);
  v->used = v->early = false;
  drop(&v->session);
  c->early_rejected = c->early;
  roam_quic_conn_drop(c);
  wind_back(c);
  roam_quic_conn_start_client(c, path);
  return true;
}

/* ---- what is learned ------------------------------------------------------------------------------------------------- */

static void tell(struct roam_quic_conn *c) {
  c->events |= CONN_HAS_LEARNED;
  roam_quic_announce(roam_quic_of(c), c);
}

void roam_quic_visit_ticket(struct roam_quic_conn *c) {
  uint8_t params[PARAMS_MAX];
  struct roam_quic_visit *v = visit_of(c);
  roam_blob *session = c->tls.ticket;
  c->tls.ticket = NULL;
  ngtcp2_ssize n = ngtcp2_conn_encode_0rtt_transport_params(c->nc, params, sizeof params);
  if (!v || n <= 0) {
    roam_blob_unref(session);
    return;
  }
  drop(&v->new_session);
  drop(&v->new_params);
  v->new_session = session;
  v->new_params = roam_blob_new(params, (size_t)n);
  v->lifetime_s = c->tls.ticket_lifetime_s;
  tell(c);
}

void roam_quic_visit_token(struct roam_quic_conn *c, const uint8_t *token, size_t len) {
  struct roam_quic_visit *v = visit_of(c);
  if (!v || len > ROAM_QUIC_TOKEN_MAX) return;
  drop(&v->new_token);
  v->new_token = roam_blob_new(token, len);
  tell(c);
}

roam_resume roam_quic_conn_learned(const struct roam_quic_conn *c) {
  const struct roam_quic_visit *v = c->visit;
  if (!v) return (roam_resume){0};
  return (roam_resume){.session = view(v->new_session),
                       .params = view(v->new_params),
                       .token = view(v->new_token),
                       .lifetime_s = v->lifetime_s,
                       .alpn = c->alpn};
}

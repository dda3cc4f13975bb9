/* quic_accept.c - strangers: datagrams on a listener's port that belong to no connection. Version negotiation, Retry and
 * address tokens, bounds, the birth of a server connection, stateless reset. What is answered without a connection waits in
 * a small fixed table until drained; when it is full a stranger gets no answer. Refuses to keep anything about an address
 * that has not proved itself. */
#include <ngtcp2/ngtcp2_crypto.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/trace.h"
#include "transport/quic.h"

enum {
  STATELESS_MAX = 64,
  STATELESS_BYTES = 320,
  INITIAL_MIN = 1200,
  RESET_MIN = 22, /* shorter than this cannot be answered with something shorter */
  RESET_MAX = 43,
  RESET_RANDOM_MIN = 5,
};
#define RETRY_TOKEN_NS (10 * ROAM_S)
#define ADDRESS_TOKEN_NS (24 * 3600 * ROAM_S)

struct roam_quic_stateless {
  uint32_t handle;
  roam_addr local, remote;
  size_t len;
  uint8_t bytes[STATELESS_BYTES];
};

static struct roam_quic_stateless *add_answer(struct roam_quic *q, const struct roam_quic_listener *l,
                                              const roam_wire *unit) {
  if (!q->stateless) q->stateless = calloc(STATELESS_MAX, sizeof *q->stateless);
  if (q->stateless_sent == q->stateless_count) q->stateless_sent = q->stateless_count = 0;
  if (!q->stateless || q->stateless_count == STATELESS_MAX) return NULL;
  struct roam_quic_stateless *a = &q->stateless[q->stateless_count];
  a->handle = l->handle;
  a->local = unit->local.family ? unit->local : l->local;
  a->remote = unit->remote;
  a->len = 0;
  return a;
}

static void commit_answer(struct roam_quic *q, struct roam_quic_stateless *a, ngtcp2_ssize len) {
  if (len <= 0) return;
  a->len = (size_t)len;
  q->stateless_count++;
}

bool roam_quic_stateless_drain(struct roam_quic *q, struct roam_quic_tx *tx) {
  while (q->stateless_sent < q->stateless_count) {
    if (tx->n == tx->max) return false;
    const struct roam_quic_stateless *a = &q->stateless[q->stateless_sent++];
    tx->out[tx->n++] = (roam_wire){.kind = ROAM_WIRE_DATAGRAM,
                                   .handle = a->handle,
                                   .local = a->local,
                                   .remote = a->remote,
                                   .data = a->bytes,
                                   .len = a->len};
  }
  return true;
}

uint64_t roam_quic_token_time(const struct roam_quic *q) {
  int64_t wall = roam_quic_tls_wall(&q->tls, q->now);
  return wall > 0 ? (uint64_t)wall * ROAM_S : q->now;
}

static void negotiate_version(struct roam_quic *q, struct roam_quic_listener *l, const roam_wire *unit,
                              const ngtcp2_version_cid *vc) {
  static const uint32_t versions[] = {NGTCP2_PROTO_VER_V1, NGTCP2_PROTO_VER_V2};
  uint8_t noise;
  struct roam_quic_stateless *a = add_answer(q, l, unit);
  if (!a) return;
  roam_random_fill(q->o.random, &noise, 1);
  commit_answer(q, a,
                ngtcp2_pkt_write_version_negotiation(a->bytes, sizeof a->bytes, noise, vc->scid, vc->scidlen, vc->dcid,
                                                     vc->dcidlen, versions, sizeof versions / sizeof versions[0]));
}

/* To a peer that still believes in a connection we do not know: our secret and its id give the token it was told at birth.
 */
static void reset_stateless(struct roam_quic *q, struct roam_quic_listener *l, const roam_wire *unit,
                            const ngtcp2_version_cid *vc, size_t len) {
  uint8_t noise[RESET_MAX], token[NGTCP2_STATELESS_RESET_TOKENLEN];
  ngtcp2_cid cid;
  if (len < RESET_MIN) return;
  size_t answer =
      len - 1 < RESET_MAX ? len - 1 : RESET_MAX; /* shorter than what it answers, so two of us cannot play ping-pong */
  size_t noise_len = answer - NGTCP2_STATELESS_RESET_TOKENLEN;
  if (noise_len < RESET_RANDOM_MIN) return;
  struct roam_quic_stateless *a = add_answer(q, l, unit);
  if (!a) return;
  ngtcp2_cid_init(&cid, vc->dcid, vc->dcidlen);
  if (ngtcp2_crypto_generate_stateless_reset_token(token, q->o.secret, sizeof q->o.secret, &cid) != 0) return;
  roam_random_fill(q->o.random, noise, noise_len);
  q->totals.resets_sent++;
  commit_answer(q, a, ngtcp2_pkt_write_stateless_reset(a->bytes, sizeof a->bytes, token, noise, noise_len));
}

static void refuse(struct roam_quic *q, struct roam_quic_listener *l, const roam_wire *unit, const ngtcp2_pkt_hd *hd,
                   uint64_t code) {
  struct roam_quic_stateless *a = add_answer(q, l, unit);
  if (!a) return;
  commit_answer(
      q, a,
      ngtcp2_crypto_write_connection_close(a->bytes, sizeof a->bytes, hd->version, &hd->scid, &hd->dcid, code, NULL, 0));
}

static void send_retry(struct roam_quic *q, struct roam_quic_listener *l, const roam_wire *unit, const ngtcp2_pkt_hd *hd,
                       const ngtcp2_path *path) {
  uint8_t token[NGTCP2_CRYPTO_MAX_RETRY_TOKENLEN2];
  ngtcp2_cid scid;
  struct roam_quic_stateless *a = add_answer(q, l, unit);
  if (!a) return;
  scid.datalen = q->ids.len;
  roam_quic_ids_make(&q->ids, scid.data);
  ngtcp2_ssize n =
      ngtcp2_crypto_generate_retry_token2(token, q->o.secret, sizeof q->o.secret, hd->version, path->remote.addr,
                                          path->remote.addrlen, &scid, &hd->dcid, roam_quic_token_time(q));
  if (n < 0) return;
  q->totals.retries_sent++;
  commit_answer(
      q, a,
      ngtcp2_crypto_write_retry(a->bytes, sizeof a->bytes, hd->version, &hd->scid, &scid, &hd->dcid, token, (size_t)n));
}

enum token_verdict {
  TOKEN_NONE,
  TOKEN_RETRY,
  TOKEN_ADDRESS,
  TOKEN_BAD
};

/* A Retry token must be right or the attempt is refused; an address token that is not right is no token. */
static enum token_verdict judge_token(struct roam_quic *q, const ngtcp2_pkt_hd *hd, const ngtcp2_path *path,
                                      ngtcp2_cid *original) {
  const uint8_t *secret = q->o.secret;
  if (hd->tokenlen == 0) return TOKEN_NONE;
  if (hd->token[0] == NGTCP2_CRYPTO_TOKEN_MAGIC_RETRY2) {
    int rv = ngtcp2_crypto_verify_retry_token2(original, hd->token, hd->tokenlen, secret, sizeof q->o.secret, hd->version,
                                               path->remote.addr, path->remote.addrlen, &hd->dcid, RETRY_TOKEN_NS,
                                               roam_quic_token_time(q));
    return rv == 0 ? TOKEN_RETRY : TOKEN_BAD;
  }
  if (hd->token[0] != NGTCP2_CRYPTO_TOKEN_MAGIC_REGULAR) return TOKEN_NONE;
  int rv = ngtcp2_crypto_verify_regular_token(hd->token, hd->tokenlen, secret, sizeof q->o.secret, path->remote.addr,
                                              path->remote.addrlen, ADDRESS_TOKEN_NS, roam_quic_token_time(q));
  return rv == 0 ? TOKEN_ADDRESS : TOKEN_NONE;
}

static void give_birth(struct roam_quic *q, struct roam_quic_listener *l, const roam_wire *unit, const ngtcp2_path *path,
                       const struct roam_quic_birth *birth, const uint8_t *data, size_t len) {
  struct roam_quic_conn *c = roam_quic_conn_new(q, true);
  if (!c) return;
  roam_rc rc = roam_quic_conn_start_server(c, l, path, birth);
  if (rc != 0) {
    roam_trace(&q->o.log, q->now, QUIC_NOT_BEGUN, .why = roam_strerror(rc));
    roam_quic_conn_free(c);
    return;
  }
  int rv = roam_quic_conn_read(c, path, unit->ecn, data, len);
  if (rv == NGTCP2_ERR_RETRY) send_retry(q, l, unit, birth->hd, path);
  if (rv == NGTCP2_ERR_RETRY || rv == NGTCP2_ERR_DROP_CONN) {
    roam_quic_conn_free(c); /* nothing that counts as an attempt has arrived */
    return;
  }
  c->events |= CONN_HAS_ACCEPTED;
  roam_quic_announce(q, c);
}

static void accept_initial(struct roam_quic *q, struct roam_quic_listener *l, const roam_wire *unit, const uint8_t *data,
                           size_t len) {
  ngtcp2_pkt_hd hd;
  ngtcp2_cid original;
  ngtcp2_path_storage ps;
  if (l->closing || ngtcp2_accept(&hd, data, len) != 0) return;
  if (q->handshakes >= q->o.handshakes_max) {
    q->transport.refused++;
    return;
  }
  roam_quic_path_from(&ps, unit->local.family ? &unit->local : &l->local, &unit->remote, l->handle);
  enum token_verdict token = judge_token(q, &hd, &ps.path, &original);
  if (token == TOKEN_BAD) {
    refuse(q, l, unit, &hd, NGTCP2_INVALID_TOKEN);
    return;
  }
  if (token == TOKEN_NONE && (q->o.retry || q->handshakes >= q->o.handshakes_max / 2)) {
    send_retry(q, l, unit, &hd, &ps.path);
    return;
  }
  if (q->conns >= q->o.conns_max) {
    roam_trace(&q->o.log, q->now, QUIC_REFUSED, .max = q->o.conns_max);
    q->transport.refused++;
    refuse(q, l, unit, &hd, NGTCP2_CONNECTION_REFUSED);
    return;
  }
  struct roam_quic_birth birth = {.hd = &hd, .original = &hd.dcid};
  if (token != TOKEN_NONE) {
    birth.token = (roam_bytes){hd.token, hd.tokenlen};
    birth.token_type = token == TOKEN_RETRY ? NGTCP2_TOKEN_TYPE_RETRY : NGTCP2_TOKEN_TYPE_NEW_TOKEN;
  }
  if (token == TOKEN_RETRY) {
    birth.original = &original;
    birth.retry = &hd.dcid;
  }
  give_birth(q, l, unit, &ps.path, &birth, data, len);
}

void roam_quic_accept(struct roam_quic *q, struct roam_quic_listener *l, const roam_wire *unit, const uint8_t *data,
                      size_t len) {
  ngtcp2_version_cid vc;
  int rv = ngtcp2_pkt_decode_version_cid(&vc, data, len, q->ids.len);
  if (rv == NGTCP2_ERR_VERSION_NEGOTIATION) {
    if (len >= INITIAL_MIN && !l->closing) negotiate_version(q, l, unit, &vc);
    return;
  }
  if (rv != 0) return;
  if (data[0] & 0x80) accept_initial(q, l, unit, data, len);
  else reset_stateless(q, l, unit, &vc, len);
}

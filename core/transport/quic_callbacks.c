/* quic_callbacks.c - what ngtcp2 calls: append bytes, set flags, hand out randomness. Nothing here calls back into the
 * library beyond what it allows, and nothing decides; quic_conn.c acts on the flags when the library has returned. */
#include <ngtcp2/ngtcp2_crypto.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/rng.h"
#include "transport/quic.h"

enum {
  CONNECTION_IDS = 7,
  PATH_CHALLENGE_BYTES = 8,
  LOG_LINE_BYTES = 1024
};
#define FIRST_TOKENS_NS (200 * ROAM_MS) /* some servers (quinn's) give two at once */
#define OWN_MOVE_NS (3 * ROAM_S)        /* longer than the silent validation of the old path takes */

static void fill_random(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *context) {
  roam_random_fill(context->native_handle, dest, len);
}

static int get_new_connection_id(ngtcp2_conn *nc, ngtcp2_cid *cid, uint8_t *token, size_t len, void *user_data) {
  struct roam_quic_conn *c = user_data;
  struct roam_quic *q = roam_quic_of(c);
  (void)nc;
  if (len == q->ids.len) roam_quic_ids_make(&q->ids, cid->data);
  else roam_random_fill(q->o.random, cid->data, len);
  cid->datalen = len;
  if (ngtcp2_crypto_generate_stateless_reset_token(token, q->o.secret, sizeof q->o.secret, cid) != 0)
    return NGTCP2_ERR_CALLBACK_FAILURE;
  c->callback_rc = roam_quic_cid_add(q, c, cid->data, len);
  return c->callback_rc == 0 ? 0 : NGTCP2_ERR_CALLBACK_FAILURE;
}

static int remove_connection_id(ngtcp2_conn *nc, const ngtcp2_cid *cid, void *user_data) {
  struct roam_quic_conn *c = user_data;
  (void)nc;
  roam_quic_cid_remove(roam_quic_of(c), cid->data, cid->datalen);
  return 0;
}

static int get_path_challenge(ngtcp2_conn *nc, uint8_t *data, void *user_data) {
  struct roam_quic_conn *c = user_data;
  (void)nc;
  roam_random_fill(roam_quic_of(c)->o.random, data, PATH_CHALLENGE_BYTES);
  return 0;
}

static int recv_crypto_data(ngtcp2_conn *nc, ngtcp2_encryption_level level, uint64_t offset, const uint8_t *data,
                            size_t len, void *user_data) {
  struct roam_quic_conn *c = user_data;
  (void)nc;
  return roam_quic_session_recv_crypto(&c->tls, level, offset, data, len);
}

static int recv_tx_key(ngtcp2_conn *nc, ngtcp2_encryption_level level, void *user_data) {
  struct roam_quic_conn *c = user_data;
  (void)nc, (void)level;
  c->tls.tx_key = true;
  return 0;
}

static int handshake_completed(ngtcp2_conn *nc, void *user_data) {
  struct roam_quic_conn *c = user_data;
  (void)nc;
  c->completed = true;
  c->confirmed = c->token_due = c->server; /* a client waits to be told */
  if (!c->server) return roam_quic_visit_completed(c) == 0 ? 0 : NGTCP2_ERR_CALLBACK_FAILURE;
  c->resumed = gnutls_session_is_resumed(c->tls.handle) != 0;
  roam_quic_of(c)->totals.resumed += c->resumed;
  roam_quic_session_send_ticket(&c->tls);
  return 0;
}

static int update_key(ngtcp2_conn *nc, uint8_t *rx_secret, uint8_t *tx_secret, ngtcp2_crypto_aead_ctx *rx_context,
                      uint8_t *rx_iv, ngtcp2_crypto_aead_ctx *tx_context, uint8_t *tx_iv, const uint8_t *rx_now,
                      const uint8_t *tx_now, size_t len, void *user_data) {
  struct roam_quic_conn *c = user_data;
  c->key_updates++;
  return ngtcp2_crypto_update_key_cb(nc, rx_secret, tx_secret, rx_context, rx_iv, tx_context, tx_iv, rx_now, tx_now, len,
                                     user_data);
}

static int handshake_confirmed(ngtcp2_conn *nc, void *user_data) {
  struct roam_quic_conn *c = user_data;
  (void)nc;
  c->confirmed = true;
  return 0;
}

static int stream_open(ngtcp2_conn *nc, int64_t stream, void *user_data) {
  struct roam_quic_conn *c = user_data;
  struct roam_quic_lane *l = stream == 0 ? c->control : roam_quic_lane_new(c, stream);
  if (!l) {
    c->callback_rc = ROAM_E_MEMORY;
    return NGTCP2_ERR_CALLBACK_FAILURE;
  }
  l->open = true;
  ngtcp2_conn_set_stream_user_data(nc, stream, l);
  if (l->number != 0) roam_quic_lane_tell(l, LANE_HAS_OPENED);
  return 0;
}

/* The owner may be waiting for it. */
static int extend_streams(ngtcp2_conn *nc, uint64_t max_streams, void *user_data) {
  struct roam_quic_conn *c = user_data;
  (void)nc, (void)max_streams;
  if (c->server && c->control) roam_quic_lane_tell(c->control, LANE_HAS_WRITABLE);
  return 0;
}

static int recv_stream_data(ngtcp2_conn *nc, uint32_t flags, int64_t stream, uint64_t offset, const uint8_t *data,
                            size_t len, void *user_data, void *lane) {
  struct roam_quic_conn *c = user_data;
  (void)stream, (void)offset;
  if (c->server && (flags & NGTCP2_STREAM_DATA_FLAG_0RTT)) c->early = true;
  if (!lane) { /* we have turned away from it */
    ngtcp2_conn_extend_max_offset(nc, len);
    return 0;
  }
  c->callback_rc = roam_quic_lane_take(lane, data, len, (flags & NGTCP2_STREAM_DATA_FLAG_FIN) != 0);
  return c->callback_rc == 0 ? 0 : NGTCP2_ERR_CALLBACK_FAILURE;
}

static int acked_stream_data(ngtcp2_conn *nc, int64_t stream, uint64_t offset, uint64_t len, void *user_data, void *lane) {
  const struct roam_quic_lane *l = lane;
  (void)nc, (void)stream;
  if (!l) return 0;
  roam_quic_mtu_lane_acked(user_data, l->number, offset + len);
  roam_quic_lane_acked(lane, offset + len);
  return 0;
}

static int stream_reset(ngtcp2_conn *nc, int64_t stream, uint64_t final_size, uint64_t code, void *user_data, void *lane) {
  (void)nc, (void)stream, (void)final_size, (void)user_data;
  if (lane) roam_quic_lane_peer_reset(lane, code);
  return 0;
}

static int stream_close(ngtcp2_conn *nc, uint32_t flags, int64_t stream, uint64_t code, void *user_data, void *lane) {
  (void)nc, (void)stream, (void)user_data;
  if (!lane) return 0;
  roam_quic_lane_stream_closed(lane, (flags & NGTCP2_STREAM_CLOSE_FLAG_APP_ERROR_CODE_SET) != 0, code);
  roam_quic_lane_settle(lane);
  return 0;
}

static int ack_datagram(ngtcp2_conn *nc, uint64_t frame, void *user_data) {
  (void)nc;
  roam_quic_mtu_frame_settled(user_data, frame, true);
  return 0;
}

static int lost_datagram(ngtcp2_conn *nc, uint64_t frame, void *user_data) {
  (void)nc;
  roam_quic_mtu_frame_settled(user_data, frame, false);
  return 0;
}

static int recv_datagram(ngtcp2_conn *nc, uint32_t flags, const uint8_t *data, size_t len, void *user_data) {
  (void)nc, (void)flags;
  roam_quic_datagram_take(user_data, data, len);
  return 0;
}

static int path_validation(ngtcp2_conn *nc, uint32_t flags, const ngtcp2_path *path, const ngtcp2_path *old_path,
                           ngtcp2_path_validation_result result, void *user_data) {
  struct roam_quic_conn *c = user_data;
  (void)old_path;
  if (result == NGTCP2_PATH_VALIDATION_RESULT_SUCCESS) c->paths_validated++;
  else if (result == NGTCP2_PATH_VALIDATION_RESULT_FAILURE) c->paths_failed++;
  if (!c->server) roam_quic_path_validated(c, path, result);
  /* Also when only the port is new: by this token a client learns that a NAT has rebound it. */
  else if (result == NGTCP2_PATH_VALIDATION_RESULT_SUCCESS && !(flags & NGTCP2_PATH_VALIDATION_FLAG_PREFERRED_ADDR))
    c->token_due = true;
  if (c->server && result == NGTCP2_PATH_VALIDATION_RESULT_SUCCESS && ngtcp2_path_eq(path, ngtcp2_conn_get_path(nc)))
    roam_quic_conn_proved(c);
  return 0;
}

/* A server renews the token when it has validated a new address of ours. One we did not move to ourselves is a NAT's
 * doing. The first ones belong to the handshake. */
static void note_rebind(struct roam_quic_conn *c) {
  roam_time now = roam_quic_of(c)->now;
  if (c->tokens_seen++ == 0) c->token_at = now;
  bool first = now < c->token_at + FIRST_TOKENS_NS, ours = roam_quic_path_moving(c) || now < c->moved_at + OWN_MOVE_NS;
  if (!first && !ours) c->rebinds++;
}

static int recv_new_token(ngtcp2_conn *nc, const uint8_t *token, size_t len, void *user_data) {
  struct roam_quic_conn *c = user_data;
  (void)nc;
  roam_quic_token_put(roam_quic_of(c), &c->remote, token, len);
  note_rebind(c);
  roam_quic_visit_token(c, token, len);
  return 0;
}

static int recv_stateless_reset(ngtcp2_conn *nc, const ngtcp2_pkt_stateless_reset *reset, void *user_data) {
  struct roam_quic_conn *c = user_data;
  (void)nc, (void)reset;
  c->stateless_reset = true;
  return 0;
}

void roam_quic_callbacks_fill(ngtcp2_callbacks *callbacks, bool server) {
  *callbacks = (ngtcp2_callbacks){
      .client_initial = server ? NULL : ngtcp2_crypto_client_initial_cb,
      .recv_client_initial = server ? ngtcp2_crypto_recv_client_initial_cb : NULL,
      .recv_retry = server ? NULL : ngtcp2_crypto_recv_retry_cb,
      .recv_crypto_data = recv_crypto_data,
      .encrypt = ngtcp2_crypto_encrypt_cb,
      .decrypt = ngtcp2_crypto_decrypt_cb,
      .hp_mask = ngtcp2_crypto_hp_mask_cb,
      .update_key = update_key,
      .delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
      .delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
      .version_negotiation = ngtcp2_crypto_version_negotiation_cb,
      .rand = fill_random,
      .get_new_connection_id = get_new_connection_id,
      .remove_connection_id = remove_connection_id,
      .get_path_challenge_data = get_path_challenge,
      .recv_tx_key = recv_tx_key,
      .handshake_completed = handshake_completed,
      .handshake_confirmed = handshake_confirmed,
      .stream_open = stream_open,
      .extend_max_local_streams_bidi = extend_streams,
      .recv_stream_data = recv_stream_data,
      .acked_stream_data_offset = acked_stream_data,
      .stream_reset = stream_reset,
      .stream_close = stream_close,
      .path_validation = path_validation,
      .recv_datagram = recv_datagram,
      .ack_datagram = ack_datagram,
      .lost_datagram = lost_datagram,
      .recv_new_token = server ? NULL : recv_new_token,
      .recv_stateless_reset = recv_stateless_reset,
  };
}

void roam_quic_settings_fill(const struct roam_quic *q, ngtcp2_settings *settings, ngtcp2_transport_params *params,
                             bool server) {
  ngtcp2_settings_default(settings);
  settings->initial_ts = q->now;
  static const ngtcp2_cc_algo algorithms[] = {NGTCP2_CC_ALGO_CUBIC, NGTCP2_CC_ALGO_RENO, NGTCP2_CC_ALGO_BBR};
  settings->initial_rtt = q->o.initial_rtt_ns;
  settings->cc_algo = algorithms[q->o.congestion];
  roam_quic_mtu_settings(q, settings);
  settings->handshake_timeout = q->o.connect_timeout_ns;
  settings->rand_ctx.native_handle = q->o.random;
  ngtcp2_transport_params_default(params);
  params->initial_max_stream_data_bidi_local = q->o.lane_rx_bytes;
  params->initial_max_stream_data_bidi_remote = q->o.lane_rx_bytes;
  params->initial_max_data = q->o.conn_rx_bytes;
  params->initial_max_stream_data_uni = q->o.lane_rx_bytes;
  params->initial_max_streams_bidi = server ? q->o.lanes_max : q->o.server_lanes_max;
  params->initial_max_streams_uni = q->o.one_way_lanes_max;
  params->max_idle_timeout = q->o.idle_timeout_ns;
  params->max_datagram_frame_size = roam_quic_datagram_frame_max(q);
  params->active_connection_id_limit = CONNECTION_IDS;
}

static void take_line(void *user_data, const char *format, ...) {
  struct roam_quic_conn *c = user_data;
  char line[LOG_LINE_BYTES];
  va_list args;
  if (!c->qlog) return;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  roam_quic_qlog_line(c->qlog, roam_quic_of(c)->now, line);
}

void roam_quic_qlog_attach(struct roam_quic_conn *c, ngtcp2_settings *settings, const ngtcp2_cid *original) {
  const struct roam_quic *q = roam_quic_of(c);
  if (!q->o.tap.qlog) return;
  if (!c->qlog) {
    c->qlog = roam_quic_qlog_new(&q->o.tap, c->server, original, q->now);
    if (c->qlog) roam_quic_qlog_started(c->qlog, q->now, &c->local, &c->remote);
  }
  if (c->qlog) settings->log_printf = take_line;
}

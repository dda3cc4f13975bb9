/* ws.c - WebSocket (RFC 6455) as a filter over a byte connection: the upgrade is ws_http.c's, frames are cut and masked by
 * wslay, and what a frame means is decided here.
 *
 * The bytes of binary messages are one stream (MQTT 5.0 section 6: packets need not align with frames), so a frame's
 * payload goes up as it comes and no frame is ever kept whole. Text frames end the connection with 1003, anything against
 * the protocol with 1002. Pings are answered at once. Refuses extensions, and to send more than one kind of data frame. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <wslay/wslay.h>

#include "base/buf.h"
#include "base/rng.h"
#include "transport/filter.h"
#include "transport/ws_http.h"

enum {
  CONTROL_MAX = 125,
  HOST_MAX = 320,
  CLOSE_NORMAL = 1000,
  CLOSE_GOING_AWAY = 1001,
  CLOSE_PROTOCOL = 1002,
  CLOSE_UNSUPPORTED = 1003,
  CLOSE_NO_STATUS = 1005,
  CLOSE_POLICY = 1008
};

struct ws {
  struct roam_layer filter; /* first */
  struct roam_ws_endpoint *endpoint;
  wslay_frame_context_ptr frames;
  struct roam_buf head; /* before the upgrade is done */
  roam_bytes arrived;   /* what wslay has not pulled yet; empty outside of in */
  roam_rc trouble;      /* of what is below */
  bool in_frame, in_message, said_goodbye;
  uint8_t opcode, fin; /* of the frame */
  uint64_t left;       /* payload of it still to come */
  uint8_t control[CONTROL_MAX];
  size_t control_len;
  char accept[ROAM_WS_ACCEPT_LEN + 1];
  char host[HOST_MAX];
};

static struct ws *of(const struct roam_layer *f) { return (struct ws *)(uintptr_t)f; }

/* ---- what wslay calls ------------------------------------------------------------------------------------------------ */

static ssize_t pull(uint8_t *out, size_t max, int flags, void *context) {
  struct ws *w = context;
  (void)flags;
  size_t n = w->arrived.len < max ? w->arrived.len : max;
  if (n == 0) return -1; /* no more now */
  memcpy(out, w->arrived.base, n);
  w->arrived.base += n;
  w->arrived.len -= n;
  return (ssize_t)n;
}

static ssize_t push(const uint8_t *bytes, size_t len, int flags, void *context) {
  struct ws *w = context;
  (void)flags;
  if (w->trouble == 0) w->trouble = roam_layer_down(&w->filter, (roam_bytes){bytes, len});
  return w->trouble == 0 ? (ssize_t)len : -1;
}

static int draw_mask(uint8_t *out, size_t len, void *context) {
  struct ws *w = context;
  roam_random_fill(w->endpoint->random, out, len);
  return 0;
}

/* ---- frames out ------------------------------------------------------------------------------------------------------ */

static roam_rc send_frame(struct ws *w, uint8_t opcode, roam_bytes payload) {
  struct wslay_frame_iocb frame = {.fin = 1,
                                   .opcode = opcode,
                                   .payload_length = payload.len,
                                   .mask = !w->filter.server,
                                   .data = payload.base,
                                   .data_length = payload.len};
  ssize_t rv = wslay_frame_send(w->frames, &frame);
  if (w->trouble != 0) return w->trouble;
  return rv == (ssize_t)payload.len ? 0 : ROAM_E_INTERNAL;
}

static void send_close(struct ws *w, unsigned code) {
  uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};
  if (w->said_goodbye) return;
  w->said_goodbye = true;
  send_frame(w, WSLAY_CONNECTION_CLOSE, (roam_bytes){payload, code == CLOSE_NO_STATUS ? 0 : 2});
}

static roam_rc refuse(struct ws *w, unsigned code, const char *text) {
  send_close(w, code);
  snprintf(w->filter.text, ROAM_CONN_TEXT_MAX, "WebSocket: %s", text);
  return ROAM_E_PROTOCOL;
}

/* ---- frames in ------------------------------------------------------------------------------------------------------- */

static roam_rc begin_frame(struct ws *w, const struct wslay_frame_iocb *frame) {
  bool control = wslay_is_ctrl_frame(frame->opcode);
  if (frame->rsv != 0) return refuse(w, CLOSE_PROTOCOL, "an extension that was not agreed on");
  if (frame->mask != (w->filter.server ? 1 : 0))
    return refuse(w, CLOSE_PROTOCOL,
                  w->filter.server ? "a client must mask its frames" : "a server must not mask its frames");
  if (control && (!frame->fin || frame->payload_length > CONTROL_MAX))
    return refuse(w, CLOSE_PROTOCOL, "a control frame that is cut or too long");
  if (frame->opcode == WSLAY_TEXT_FRAME) return refuse(w, CLOSE_UNSUPPORTED, "MQTT comes in binary frames, not in text");
  if (frame->opcode == WSLAY_BINARY_FRAME ? w->in_message : !control && !w->in_message)
    return refuse(w, CLOSE_PROTOCOL, "frames of a message out of order");
  bool known = control ? frame->opcode <= WSLAY_PONG : frame->opcode <= WSLAY_BINARY_FRAME;
  if (!known) return refuse(w, CLOSE_PROTOCOL, "an unknown kind of frame");
  w->in_frame = true;
  w->opcode = frame->opcode;
  w->fin = frame->fin;
  w->left = frame->payload_length;
  w->control_len = 0;
  return 0;
}

static roam_rc take_close(struct ws *w) {
  unsigned code = w->control_len >= 2 ? (unsigned)w->control[0] << 8 | w->control[1] : CLOSE_NO_STATUS;
  if (w->control_len == 1) return refuse(w, CLOSE_PROTOCOL, "a close frame of one byte");
  w->filter.ended = true;
  send_close(w, code);
  if (code != CLOSE_NORMAL && code != CLOSE_GOING_AWAY && code != CLOSE_NO_STATUS)
    snprintf(w->filter.text, ROAM_CONN_TEXT_MAX, "the peer closed the WebSocket with code %u", code);
  return 0;
}

static roam_rc end_frame(struct ws *w) {
  w->in_frame = false;
  switch (w->opcode) {
    case WSLAY_CONNECTION_CLOSE: return take_close(w);
    case WSLAY_PING: return send_frame(w, WSLAY_PONG, (roam_bytes){w->control, w->control_len});
    case WSLAY_PONG: return 0;
    default: w->in_message = !w->fin; return 0;
  }
}

static roam_rc take_payload(struct ws *w, const struct wslay_frame_iocb *frame) {
  w->left -= frame->data_length < w->left ? frame->data_length : w->left;
  if (frame->data_length == 0) return 0;
  if (!wslay_is_ctrl_frame(w->opcode)) return roam_layer_up(&w->filter, (roam_bytes){frame->data, frame->data_length});
  if (frame->data_length > CONTROL_MAX - w->control_len)
    return refuse(w, CLOSE_PROTOCOL, "a control frame that is too long");
  memcpy(w->control + w->control_len, frame->data, frame->data_length);
  w->control_len += frame->data_length;
  return 0;
}

static roam_rc read_frames(struct ws *w) {
  while (!w->filter.ended) {
    struct wslay_frame_iocb frame;
    memset(&frame, 0, sizeof frame);
    ssize_t rv = wslay_frame_recv(w->frames, &frame);
    if (rv == WSLAY_ERR_WANT_READ && w->arrived.len == 0) return 0;
    if (rv < 0 && rv != WSLAY_ERR_WANT_READ) return refuse(w, CLOSE_PROTOCOL, "a malformed frame");
    if (rv < 0) continue;
    roam_rc rc = w->in_frame ? 0 : begin_frame(w, &frame);
    if (rc == 0) rc = take_payload(w, &frame);
    if (rc == 0 && w->left == 0) rc = end_frame(w);
    if (rc != 0) return rc;
  }
  return 0;
}

/* ---- the upgrade ----------------------------------------------------------------------------------------------------- */

static roam_rc answer(struct ws *w, roam_bytes head) {
  char bytes[ROAM_WS_ANSWER_MAX];
  size_t len;
  roam_rc rc = roam_ws_request_read(head, w->endpoint->path, w->endpoint->origins, bytes, &len, w->filter.text);
  roam_rc sent = len > 0 ? roam_layer_down(&w->filter, (roam_bytes){(const uint8_t *)bytes, len}) : 0;
  return rc != 0 ? rc : sent;
}

/* What does not begin like HTTP will never end like it: a TLS client, or MQTT without WebSocket. */
static roam_rc refuse_stranger(struct ws *w) {
  snprintf(w->filter.text, ROAM_CONN_TEXT_MAX, "what arrived is not HTTP: is this the port for WebSocket%s?",
           w->filter.below ? "" : " without TLS");
  return ROAM_E_PROTOCOL;
}

static roam_rc refuse_long(struct ws *w) {
  char bytes[ROAM_WS_ANSWER_MAX];
  size_t len = roam_ws_refuse_long(bytes, w->filter.text);
  if (w->filter.server) roam_layer_down(&w->filter, (roam_bytes){(const uint8_t *)bytes, len});
  return ROAM_E_PROTOCOL;
}

/* Takes of bytes what belongs to the head and leaves the rest in them. */
static roam_rc read_head(struct ws *w, roam_bytes *bytes) {
  size_t before = roam_buf_len(&w->head), room = roam_buf_room(&w->head), take = bytes->len < room ? bytes->len : room;
  roam_rc rc = roam_buf_put(&w->head, bytes->base, take);
  if (rc != 0) return rc;
  roam_bytes head = roam_buf_view(&w->head);
  if (head.len > 0 && (head.base[0] < 'A' || head.base[0] > 'Z')) return refuse_stranger(w);
  head.len = roam_ws_head_len(head);
  if (head.len == 0) {
    *bytes = (roam_bytes){0};
    return roam_buf_room(&w->head) == 0 ? refuse_long(w) : 0;
  }
  bytes->base += head.len - before;
  bytes->len -= head.len - before;
  rc = w->filter.server ? answer(w, head) : roam_ws_response_read(head, w->accept, w->filter.text);
  roam_buf_reset(&w->head);
  return rc != 0 ? rc : roam_layer_opened(&w->filter);
}

static roam_rc ws_start(struct roam_layer *f) {
  struct ws *w = of(f);
  char request[ROAM_WS_REQUEST_MAX];
  uint8_t key[16];
  if (f->server) return 0;
  roam_random_fill(w->endpoint->random, key, sizeof key);
  size_t len = roam_ws_request_write(w->endpoint->path, w->host, key, request, w->accept);
  return len > 0 ? roam_layer_down(f, (roam_bytes){(const uint8_t *)request, len}) : ROAM_E_ARGUMENT;
}

static roam_rc ws_in(struct roam_layer *f, roam_bytes bytes) {
  struct ws *w = of(f);
  roam_rc rc = f->open ? 0 : read_head(w, &bytes);
  if (rc != 0 || !f->open) return rc;
  w->arrived = bytes;
  rc = read_frames(w);
  w->arrived = (roam_bytes){0};
  return rc;
}

static roam_rc ws_out(struct roam_layer *f, roam_bytes bytes) { return send_frame(of(f), WSLAY_BINARY_FRAME, bytes); }

static void ws_end(struct roam_layer *f, uint64_t code) { send_close(of(f), code == 0 ? CLOSE_NORMAL : CLOSE_POLICY); }

static void ws_free(struct roam_layer *f) {
  struct ws *w = of(f);
  if (w->frames) wslay_frame_context_free(w->frames);
  roam_buf_reset(&w->head);
  free(w);
}

static const roam_layer_ops ws_ops = {"WebSocket", ws_start, ws_in, ws_out, ws_end, NULL, ws_free};

/* ---- making ---------------------------------------------------------------------------------------------------------- */

struct roam_layer *roam_ws_filter_new(struct roam_ws_endpoint *e, bool server, const char *host) {
  static const struct wslay_frame_callbacks callbacks = {push, pull, draw_mask};
  struct ws *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  w->filter = (struct roam_layer){.ops = &ws_ops, .server = server};
  w->endpoint = e;
  roam_buf_init(&w->head, ROAM_WS_HEAD_MAX);
  snprintf(w->host, sizeof w->host, "%s", host);
  if (wslay_frame_context_init(&w->frames, &callbacks, w) == 0) return &w->filter;
  free(w);
  return NULL;
}

static bool is_path(const char *path) {
  if (path[0] != '/' || strlen(path) > 512) return false;
  for (const char *c = path; *c; c++)
    if (*c <= ' ' || *c >= 0x7f) return false;
  return true;
}

roam_rc roam_ws_endpoint_init(struct roam_ws_endpoint *e, const roam_transport_options *o, const char **why) {
  *e = (struct roam_ws_endpoint){.random = o->random};
  if (!o->random) *why = "random is missing";
  else if (o->ws_path && !is_path(o->ws_path)) *why = "ws_path: begins with /, at most 512 visible characters";
  if (*why) return ROAM_E_OPTION;
  e->path = strdup(o->ws_path ? o->ws_path : "/mqtt");
  if (e->path && o->ws_origins) e->origins = strdup(o->ws_origins);
  return e->path && (e->origins || !o->ws_origins) ? 0 : ROAM_E_MEMORY;
}

void roam_ws_endpoint_reset(struct roam_ws_endpoint *e) {
  free(e->path);
  free(e->origins);
  *e = (struct roam_ws_endpoint){0};
}

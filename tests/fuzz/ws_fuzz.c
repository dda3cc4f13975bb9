/* ws_fuzz.c - WebSocket from either side: the HTTP head, then frames. The first byte says which role and whether the
 * upgrade is the fuzzer's too; the second draws where pieces end.
 *
 * Held against: the same bytes in one piece and in pieces give the same; frames are compared with a second opinion that
 * knows RFC 6455 section 5.2 and nothing of wslay; what one side sends the other reads. */
#include "fuzz.h"

#include "base/rng.h"
#include "transport/filter.h"
#include "transport/ws_http.h"

#define KEEP 65536u

static const char request[] = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Protocol: mqtt\r\n\r\n";

struct text {
  uint8_t bytes[KEEP];
  size_t len;
};

struct end {
  struct roam_rng rng;
  struct roam_ws_endpoint endpoint;
  struct roam_layer *filter;
  struct text lane, wire;
  char why[ROAM_CONN_TEXT_MAX];
  roam_time now;
  roam_rc rc;
};

static roam_rc keep(struct text *t, roam_bytes bytes) {
  FUZZ_CHECK(bytes.len <= KEEP - t->len);
  if (bytes.len > 0) memcpy(t->bytes + t->len, bytes.base, bytes.len);
  t->len += bytes.len;
  return 0;
}

static roam_rc to_lane(void *conn, roam_bytes bytes) { return keep(&((struct end *)conn)->lane, bytes); }
static roam_rc to_wire(void *conn, roam_bytes bytes) { return keep(&((struct end *)conn)->wire, bytes); }

static struct end *end_new(bool server) {
  struct end *e = calloc(1, sizeof *e);
  roam_transport_options o;
  const char *why = NULL;
  FUZZ_CHECK(e != NULL);
  roam_rng_init(&e->rng, 7);
  roam_transport_options_init(&o);
  o.random = &e->rng.random;
  FUZZ_CHECK(roam_ws_endpoint_init(&e->endpoint, &o, &why) == 0);
  e->filter = roam_ws_filter_new(&e->endpoint, server, "localhost");
  FUZZ_CHECK(e->filter != NULL);
  e->filter->conn = e;
  e->filter->to_lane = to_lane;
  e->filter->to_wire = to_wire;
  e->filter->now = &e->now;
  e->filter->text = e->why;
  FUZZ_CHECK(e->filter->ops->start(e->filter) == 0);
  return e;
}

static void end_free(struct end *e) {
  e->filter->ops->free(e->filter);
  roam_ws_endpoint_reset(&e->endpoint);
  free(e);
}

/* state NULL: in one piece. Each piece is a copy of exactly its size. */
static void feed(struct end *e, roam_bytes bytes, uint32_t *state) {
  while (bytes.len > 0 && e->rc == 0 && !e->filter->ended) {
    size_t n = state ? 1 + fuzz_next(state) % 40 : bytes.len;
    roam_bytes piece = {bytes.base, n < bytes.len ? n : bytes.len};
    uint8_t *copy = fuzz_copy(piece);
    e->rc = e->filter->ops->in(e->filter, (roam_bytes){copy, piece.len});
    free(copy);
    bytes.base += piece.len;
    bytes.len -= piece.len;
  }
  FUZZ_CHECK(memchr(e->why, 0, sizeof e->why) != NULL);
  if (e->rc != 0) FUZZ_CHECK(e->why[0] != 0);
}

static roam_bytes view(const struct text *t) { return (roam_bytes){t->bytes, t->len}; }

/* The server's right answer to what this client has asked for. */
static void open_client(struct end *e) {
  char answer[ROAM_WS_ANSWER_MAX], text[ROAM_CONN_TEXT_MAX];
  size_t len;
  FUZZ_CHECK(roam_ws_request_read(view(&e->wire), "/mqtt", NULL, answer, &len, text) == 0);
  feed(e, (roam_bytes){(const uint8_t *)answer, len}, NULL);
  FUZZ_CHECK(e->filter->open && e->rc == 0);
  e->wire.len = 0;
}

static void open_server(struct end *e) {
  feed(e, (roam_bytes){(const uint8_t *)request, sizeof request - 1}, NULL);
  FUZZ_CHECK(e->filter->open && e->rc == 0);
  e->wire.len = 0;
}

/* ---- a second opinion ------------------------------------------------------------------------------------------------ */

/* The payload of binary messages up to the first frame that is not to be taken or not whole. *whole: all of it was right.
 */
static void decode(roam_bytes in, bool server, struct text *out, bool *whole) {
  bool in_message = false;
  *whole = true;
  while (in.len > 0) {
    *whole = false;
    if (in.len < 2) return;
    uint8_t first = in.base[0], second = in.base[1];
    size_t at = 2, extra = (second & 127) == 126 ? 2 : (second & 127) == 127 ? 8 : 0;
    uint64_t len = extra ? 0 : second & 127;
    uint8_t opcode = first & 15;
    if ((first & 0x70) != 0 || ((second & 128) != 0) != server) return;
    if (in.len < at + extra) return;
    for (size_t i = 0; i < extra; i++) len = len << 8 | in.base[at++];
    if ((extra == 2 && len < 126) || (extra == 8 && (len < 65536 || len >> 63))) return;
    if (opcode > 2 || opcode == 1 || (opcode == 2) == in_message) return; /* control frames end the opinion too */
    const uint8_t *mask = server ? in.base + at : (const uint8_t *)"\0\0\0\0";
    if (in.len - at < (server ? 4u : 0u)) return;
    at += server ? 4 : 0;
    size_t there = len < in.len - at ? (size_t)len : in.len - at;
    for (size_t i = 0; i < there; i++) out->bytes[out->len++] = in.base[at + i] ^ mask[i % 4];
    if (there < len) return;
    in_message = !(first & 128);
    in.base += at + there;
    in.len -= at + there;
    *whole = true;
  }
}

static void compare_frames(roam_bytes frames, bool server, const struct end *e) {
  static struct text expected;
  bool whole;
  expected.len = 0;
  decode(frames, server, &expected, &whole);
  if (whole) FUZZ_CHECK(e->rc == 0 && fuzz_same(view(&expected), view(&e->lane)) && e->wire.len == 0);
  else FUZZ_CHECK(e->lane.len >= expected.len && memcmp(e->lane.bytes, expected.bytes, expected.len) == 0);
}

/* ---- the cases ------------------------------------------------------------------------------------------------------- */

static void read_frames(roam_bytes bytes, bool server, bool opened, uint32_t state) {
  struct end *one = end_new(server), *many = end_new(server);
  if (opened) (server ? open_server : open_client)(one);
  if (opened) (server ? open_server : open_client)(many);
  feed(one, bytes, NULL);
  feed(many, bytes, &state);
  FUZZ_CHECK(one->rc == many->rc && one->filter->open == many->filter->open && one->filter->ended == many->filter->ended);
  FUZZ_CHECK(fuzz_same(view(&one->lane), view(&many->lane)) && fuzz_same(view(&one->wire), view(&many->wire)));
  FUZZ_CHECK(strcmp(one->why, many->why) == 0 && one->lane.len <= bytes.len);
  if (opened) compare_frames(bytes, server, one);
  if (one->filter->open && one->rc == 0) one->filter->ops->end(one->filter, 0);
  end_free(one);
  end_free(many);
}

static void both_ways(roam_bytes bytes, uint32_t state) {
  struct end *client = end_new(false), *server = end_new(true);
  open_client(client);
  open_server(server);
  for (size_t at = 0, n; at < bytes.len; at += n) {
    n = 1 + fuzz_next(&state) % 1000;
    if (n > bytes.len - at) n = bytes.len - at;
    FUZZ_CHECK(client->filter->ops->out(client->filter, (roam_bytes){bytes.base + at, n}) == 0);
    FUZZ_CHECK(server->filter->ops->out(server->filter, (roam_bytes){bytes.base + at, n}) == 0);
  }
  client->filter->ops->end(client->filter, 0);
  feed(server, view(&client->wire), &state);
  FUZZ_CHECK(server->rc == 0 && server->filter->ended && fuzz_same(bytes, view(&server->lane)));
  feed(client, view(&server->wire), &state);
  FUZZ_CHECK(client->rc == 0 && client->filter->ended && fuzz_same(bytes, view(&client->lane)));
  end_free(client);
  end_free(server);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct tape tape = {data, data + size};
  if (size > 16384) return 0;
  uint8_t how = tape_u8(&tape);
  uint32_t state = tape_u8(&tape);
  roam_bytes rest = tape_take(&tape, tape_left(&tape));
  if ((how & 7) == 7) both_ways(rest, state);
  else read_frames(rest, how & 1, how & 2, state);
  return 0;
}

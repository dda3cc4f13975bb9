/* The rules of MQTT over WebSocket (5.0 and 3.1.1, section 6), frame by frame, on both sides. */
#include "conformance/mqtt_suite.h"
#include "unit/transport/ws_rig.h"

#define B(text) text, sizeof text - 1
#define MASK "\0\0\0\0"

/* A client whose server is this test: what it writes comes to r->out. */
static uint32_t dial(struct ws_rig *r) {
  struct pair_how how = {.kind = ROAM_TRANSPORT_WS};
  roam_wire out[4];
  *r = (struct ws_rig){.p = pair_new(&how)};
  pair_dial(r->p, "localhost");
  assert_int_equal(side_drain(r->p->client, r->p->g->now, out, 4), 1);
  assert_int_equal(out[0].kind, ROAM_WIRE_OPEN);
  uint32_t handle = out[0].handle;
  roam_wire opened = {.kind = ROAM_WIRE_OPENED, .handle = handle, .local = {.family = 4}, .remote = r->p->server_addr};
  side_feed(r->p->client, r->p->g->now, &opened, 1);
  size_t n = side_drain(r->p->client, r->p->g->now, out, 4);
  for (size_t i = 0; i < n; i++) {
    if (out[i].kind != ROAM_WIRE_DATA) continue;
    assert_true(r->out_len + out[i].len < WS_OUT_MAX);
    memcpy(r->out + r->out_len, out[i].data, out[i].len);
    r->out_len += out[i].len;
  }
  r->out[r->out_len] = '\0';
  return handle;
}

static void tell(struct ws_rig *r, uint32_t handle, const void *bytes, size_t len) {
  roam_wire unit = {.kind = ROAM_WIRE_DATA, .handle = handle, .data = bytes, .len = len};
  roam_wire out[4];
  side_feed(r->p->client, r->p->g->now, &unit, 1);
  while (side_drain(r->p->client, r->p->g->now, out, 4) > 0) {
  }
  side_poll(r->p->client, NULL, 0);
}

/* The answer a server of ours gives to what is in r->out, changed from one word to another. */
static size_t answer_of(const struct ws_rig *r, const char *from, const char *to, char answer[WS_OUT_MAX]) {
  struct ws_rig server;
  ws_begin(&server);
  ws_send(&server, (const char *)r->out, r->out_len);
  server.out[server.out_len] = '\0';
  const char *all = (const char *)server.out, *at = strstr(all, from);
  assert_non_null(at);
  int n = snprintf(answer, WS_OUT_MAX, "%.*s%s%s", (int)(at - all), all, to, at + strlen(from));
  pair_free(server.p);
  return (size_t)n;
}

static const roam_te *end_of(struct side *s) {
  const roam_te *closed = side_last(s, ROAM_TE_CLOSED);
  assert_non_null(closed);
  return closed;
}

static void websocket_frames_are_binary(void **state) {
  (void)state;
  struct ws_rig r;
  char answer[WS_OUT_MAX];
  ws_begin(&r);
  ws_send(&r, ws_upgrade, sizeof ws_upgrade - 1);
  r.out_len = 0;
  ws_send(&r, B("\x81\x82" MASK "hi"));
  assert_int_equal(r.out_len, 4);
  assert_memory_equal(r.out, "\x88\x02\x03\xeb", 4); /* 1003: a kind of data that is not accepted */
  assert_non_null(strstr(end_of(r.p->server)->text, "binary frames"));
  assert_int_equal(roam_conn_peek(r.p->server->conn, 0).len, 0);
  pair_free(r.p);

  uint32_t handle = dial(&r);
  tell(&r, handle, answer, answer_of(&r, "mqtt", "mqtt", answer));
  assert_non_null(side_last(r.p->client, ROAM_TE_OPENED));
  tell(&r, handle, B("\x81\x02hi"));
  assert_non_null(strstr(end_of(r.p->client)->text, "binary frames"));
  pair_free(r.p);

  /* and what we send ourselves */
  ws_begin(&r);
  ws_send(&r, ws_upgrade, sizeof ws_upgrade - 1);
  r.out_len = 0;
  assert_true(pair_send(r.p->server, r.p->server->conn, "hello", 5));
  ws_take_out(&r);
  assert_int_equal(r.out[0], 0x82);
  pair_free(r.p);
}

/* One packet in three frames with a second packet's beginning in the last, and three packets in one frame. */
static void websocket_packets_need_not_align_with_frames(void **state) {
  (void)state;
  struct ws_rig r;
  ws_begin(&r);
  ws_send(&r, ws_upgrade, sizeof ws_upgrade - 1);
  ws_send(&r, B("\x82\x81" MASK "\x30\x82\x82" MASK "\x06\x00\x82\x86" MASK "\x01thi\xc0\x00"));
  ws_send(&r, B("\x82\x85" MASK "\x00\xc0\x00\xc0\x00"));
  static const char lane[] = "\x30\x06\x00\x01thi\xc0\x00\x00\xc0\x00\xc0";
  roam_bytes got = roam_conn_peek(r.p->server->conn, 0);
  assert_int_equal(got.len, sizeof lane);
  assert_memory_equal(got.base, lane, sizeof lane);
  pair_free(r.p);
}

static void websocket_client_offers_mqtt(void **state) {
  (void)state;
  struct ws_rig r;
  dial(&r);
  assert_non_null(strstr((const char *)r.out, "\r\nSec-WebSocket-Protocol: mqtt\r\n"));
  pair_free(r.p);
}

static void websocket_server_answers_mqtt(void **state) {
  (void)state;
  struct ws_rig r;
  char answer[WS_OUT_MAX];
  ws_begin(&r);
  ws_send(&r, ws_upgrade, sizeof ws_upgrade - 1);
  r.out[r.out_len] = '\0';
  assert_non_null(strstr((const char *)r.out, "\r\nSec-WebSocket-Protocol: mqtt\r\n"));
  pair_free(r.p);

  /* A client does not go on with a server that picked nothing, or something else. */
  static const char *const changes[] = {"Sec-WebSocket-Protocol: chat", "X-Other: mqtt"};
  for (size_t i = 0; i < 2; i++) {
    uint32_t handle = dial(&r);
    tell(&r, handle, answer, answer_of(&r, "Sec-WebSocket-Protocol: mqtt", changes[i], answer));
    assert_null(side_last(r.p->client, ROAM_TE_OPENED));
    assert_non_null(strstr(end_of(r.p->client)->text, "Sec-WebSocket-Protocol"));
    pair_free(r.p);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(websocket_frames_are_binary),
      TEST(websocket_packets_need_not_align_with_frames),
      TEST(websocket_client_offers_mqtt),
      TEST(websocket_server_answers_mqtt),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

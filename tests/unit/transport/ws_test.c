/* The WebSocket server, byte by byte: frames by hand go in, frames by hand are expected back; any split of the same bytes
 * gives the same. */
#include "unit/transport/ws_rig.h"

struct talk {
  const char *name;
  const char *in; /* frames of the client after the upgrade; mask 0, so payloads are readable */
  size_t in_len;
  const char *lane; /* what reaches the lane */
  size_t lane_len;
  const char *out; /* frames of the server */
  size_t out_len;
  bool ends;
  roam_rc rc;
  const char *text;
};

#define B(text) text, sizeof text - 1
#define M "\0\0\0\0"
#define A42 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddee"
#define A126 A42 A42 A42

static const struct talk talks[] = {
    {"a binary frame", B("\x82\x85" M "hello"), B("hello"), B(""), false, 0, NULL},
    {"an empty one", B("\x82\x80" M "\x82\x81" M "x"), B("x"), B(""), false, 0, NULL},
    {"16-bit length", B("\x82\xfe\x00\x7e" M A126), B(A126), B(""), false, 0, NULL},
    {"fragments with a ping between", B("\x02\x82" M "he\x89\x81" M "p\x80\x83" M "llo"), B("hello"), B("\x8a\x01p"), false,
     0, NULL},
    {"a pong nobody asked for", B("\x8a\x80" M "\x82\x81" M "x"), B("x"), B(""), false, 0, NULL},
    {"goodbye", B("\x82\x81" M "x\x88\x82" M "\x03\xe8"), B("x"), B("\x88\x02\x03\xe8"), true, 0, NULL},
    {"goodbye without a code", B("\x88\x80" M), B(""), B("\x88\x00"), true, 0, NULL},
    {"text", B("\x81\x82" M "hi"), B(""), B("\x88\x02\x03\xeb"), true, ROAM_E_PROTOCOL, "binary frames, not in text"},
    {"not masked", B("\x82\x02hi"), B(""), B("\x88\x02\x03\xea"), true, ROAM_E_PROTOCOL, "must mask"},
    {"an extension", B("\xc2\x82" M "hi"), B(""), B("\x88\x02\x03\xea"), true, ROAM_E_PROTOCOL, "extension"},
    {"a continuation of nothing", B("\x80\x82" M "hi"), B(""), B("\x88\x02\x03\xea"), true, ROAM_E_PROTOCOL,
     "out of order"},
    {"a message in a message", B("\x02\x82" M "hi\x82\x82" M "hi"), B("hi"), B("\x88\x02\x03\xea"), true, ROAM_E_PROTOCOL,
     "out of order"},
    {"a cut ping", B("\x09\x81" M "p"), B(""), B("\x88\x02\x03\xea"), true, ROAM_E_PROTOCOL, "frame"},
    {"an unknown kind", B("\x83\x81" M "p"), B(""), B("\x88\x02\x03\xea"), true, ROAM_E_PROTOCOL, "frame"},
    {"a close of one byte", B("\x88\x81" M "p"), B(""), B("\x88\x02\x03\xea"), true, ROAM_E_PROTOCOL, "one byte"},
};

static void check_talk(const struct talk *t, size_t split) {
  struct ws_rig r;
  static const char answer_end[] = "\r\n\r\n";
  char all[2048];
  size_t head = sizeof ws_upgrade - 1, len = head + t->in_len;
  memcpy(all, ws_upgrade, head);
  memcpy(all + head, t->in, t->in_len);
  ws_begin(&r);
  ws_send(&r, all, split);
  ws_send(&r, all + split, len - split);
  uint8_t *frames = memmem(r.out, r.out_len, answer_end, 4);
  if (!frames || memcmp(r.out, "HTTP/1.1 101", 12) != 0)
    fail_msg("%s at %zu: %.*s", t->name, split, (int)r.out_len, (char *)r.out);
  assert_non_null(memmem(r.out, r.out_len, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 28)); /* RFC 6455 section 1.3 */
  frames += 4;
  if ((size_t)(r.out + r.out_len - frames) != t->out_len || memcmp(frames, t->out, t->out_len) != 0)
    fail_msg("%s at %zu: %zu bytes of frames", t->name, split, (size_t)(r.out + r.out_len - frames));
  roam_bytes lane = roam_conn_peek(r.p->server->conn, 0);
  if (lane.len != t->lane_len || (lane.len && memcmp(lane.base, t->lane, lane.len) != 0))
    fail_msg("%s at %zu: %zu bytes on the lane", t->name, split, lane.len);
  const roam_te *closed = side_last(r.p->server, ROAM_TE_CLOSED);
  if (t->ends != (closed != NULL)) fail_msg("%s at %zu: %s", t->name, split, closed ? "ended" : "did not end");
  if (closed && (closed->rc != t->rc || (t->text && !strstr(closed->text, t->text))))
    fail_msg("%s at %zu: %d %s", t->name, split, closed->rc, closed->text);
  pair_free(r.p);
}

static void every_split_gives_the_same(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof talks / sizeof talks[0]; i++) {
    size_t head = sizeof ws_upgrade - 1;
    for (size_t split = head - 3; split <= head + talks[i].in_len; split++) check_talk(&talks[i], split);
    check_talk(&talks[i], 1);
    check_talk(&talks[i], head / 2);
  }
}

static void refusals_are_said_in_http(void **state) {
  (void)state;
  static const struct {
    const char *name, *from, *to, *status;
  } cases[] = {
      {"method", "GET", "PUT", "405"},
      {"path", "/mqtt", "/m", "404"},
      {"version of HTTP", "HTTP/1.1", "HTTP/1.0", "505"},
      {"a web page", "Upgrade: websocket\r\n", "", "426"},
      {"version", "Version: 13", "Version: 8", "426"},
      {"no host", "Host: localhost\r\n", "", "400"},
      {"short key", "dGhlIHNhbXBsZSBub25jZQ==", "dGhl", "400"},
      {"key that is no base64", "dGhlIHNhbXBsZSBub25jZQ==", "!GhlIHNhbXBsZSBub25jZQ==", "400"},
      {"another sub-protocol", "Protocol: mqtt", "Protocol: chat", "400"},
      {"another site's page", "Host: localhost\r\n", "Host: localhost\r\nOrigin: https://evil.example\r\n", "403"},
      {"our own page", "Host: localhost\r\n", "Host: localhost\r\nOrigin: http://localhost:8000\r\n", "101"},
      {"3.1's sub-protocol", "Protocol: mqtt", "Protocol: mqttv3.1", "101"},
      {"a list", "Protocol: mqtt", "Protocol: chat, mqtt", "101"},
      {"a query", "/mqtt", "/mqtt?a=b", "101"},
      {"other letters", "Upgrade: websocket\r\nConnection: Upgrade",
       "UPGRADE: WebSocket\r\nconnection: keep-alive, upgrade", "101"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char request[1024];
    struct ws_rig r;
    const char *at = strstr(ws_upgrade, cases[i].from);
    assert_non_null(at);
    int n = snprintf(request, sizeof request, "%.*s%s%s", (int)(at - ws_upgrade), ws_upgrade, cases[i].to,
                     at + strlen(cases[i].from));
    ws_begin(&r);
    ws_send(&r, request, (size_t)n);
    r.out[r.out_len] = 0;
    if (r.out_len < 12 || memcmp(r.out + 9, cases[i].status, 3) != 0) fail_msg("%s: %s", cases[i].name, (char *)r.out);
    assert_true((side_last(r.p->server, ROAM_TE_CLOSED) != NULL) == (strcmp(cases[i].status, "101") != 0));
    pair_free(r.p);
  }
}

static void the_head_is_bounded(void **state) {
  (void)state;
  struct ws_rig r;
  static char line[9000];
  memset(line, 'a', sizeof line);
  memcpy(line, "GET / HTTP/1.1\r\nX: ", 19);
  ws_begin(&r);
  ws_send(&r, line, sizeof line);
  assert_memory_equal(r.out, "HTTP/1.1 431", 12);
  assert_int_equal(side_last(r.p->server, ROAM_TE_CLOSED)->rc, ROAM_E_PROTOCOL);
  pair_free(r.p);
}

static void what_is_not_http_is_refused_at_once(void **state) {
  (void)state;
  struct ws_rig r;
  ws_begin(&r);
  ws_send(&r, "\x16\x03\x01", 3);
  assert_non_null(strstr(side_last(r.p->server, ROAM_TE_CLOSED)->text, "is not HTTP"));
  pair_free(r.p);
}

/* A client that pings and never reads: its answers are not kept for ever. */
static void unread_pongs_are_bounded(void **state) {
  (void)state;
  struct ws_rig r;
  static char pings[131 * 1000];
  for (size_t i = 0; i < sizeof pings; i += 131) memcpy(pings + i, "\x89\xfd" M, 6);
  ws_begin(&r);
  ws_send(&r, ws_upgrade, sizeof ws_upgrade - 1);
  for (int i = 0; i < 8 && !side_last(r.p->server, ROAM_TE_CLOSED); i++) {
    roam_wire unit = {.kind = ROAM_WIRE_DATA,
                      .handle = ROAM_HANDLE_EDGE | WS_HANDLE,
                      .data = (const uint8_t *)pings,
                      .len = sizeof pings};
    side_feed(r.p->server, r.p->g->now, &unit, 1);
    roam_wire out[64]; /* the edge takes its first credit and nothing more */
    while (roam_transport_drain(r.p->server->t, r.p->g->now, out, 64) > 0) {
    }
    side_poll(r.p->server, NULL, 0);
  }
  const roam_te *closed = side_last(r.p->server, ROAM_TE_CLOSED);
  assert_non_null(closed);
  assert_int_equal(closed->rc, ROAM_E_LIMIT);
  assert_non_null(strstr(closed->text, "does not read them"));
  pair_free(r.p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_split_gives_the_same), cmocka_unit_test(refusals_are_said_in_http),
      cmocka_unit_test(the_head_is_bounded),        cmocka_unit_test(what_is_not_http_is_refused_at_once),
      cmocka_unit_test(unread_pongs_are_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* quic_qlog_test.c - what stands in a connection's qlog, and that lines nobody expects do no harm. */
#include "pair.h"

#include "transport/quic_qlog.h"

static char text[1 << 20];
static size_t text_len;
static unsigned lasts;
static char names[4][64];
static size_t names_len;

static void take(void *context, const char *name, roam_bytes piece, bool last) {
  (void)context;
  if (last) {
    lasts++;
    return;
  }
  assert_true(piece.len > 2 && piece.base[0] == 0x1e && piece.base[piece.len - 1] == '\n');
  bool known = false;
  for (size_t i = 0; i < names_len; i++) known |= strcmp(names[i], name) == 0;
  if (!known && names_len < 4) snprintf(names[names_len++], sizeof names[0], "%s", name);
  assert_true(text_len + piece.len < sizeof text);
  memcpy(text + text_len, piece.base, piece.len);
  text_len += piece.len;
  text[text_len] = 0;
}

static void tapped(roam_transport_options *o) { o->tap.qlog = take; }

static void begin(void) {
  text_len = names_len = 0;
  text[0] = 0;
  lasts = 0;
}

static void has(const char *what) {
  if (!strstr(text, what)) fail_msg("not in the qlog: %s\n%.3000s", what, text);
}

static void a_connection_tells_its_life(void **state) {
  (void)state;
  begin();
  struct pair *p = pair_new(&(struct pair_how){.client = tapped, .server = tapped});
  pair_connect(p);
  assert_true(pair_send(p->client, p->conn, "hello", 5));
  glue_run(p->g, ROAM_S);
  roam_addr there;
  assert_int_equal(roam_addr_parse("10.0.0.3", &there), 0);
  assert_int_equal(roam_conn_migrate(p->conn, p->g->now, &there, NULL, ROAM_MIGRATE_PROBE), 0);
  glue_run(p->g, ROAM_S);
  roam_conn_close(p->conn, p->g->now, 0, false);
  glue_run(p->g, ROAM_S);
  assert_int_equal(names_len, 2);
  assert_int_equal(lasts, 2);
  assert_int_equal(strcspn(names[0], "_"), 36); /* 18 bytes, the client's own choice, at both ends */
  assert_memory_equal(names[0], names[1], 36);
  has("\"qlog_version\":\"0.3\"");
  has("\"vantage_point\":{\"name\":\"roamqtt\",\"type\":\"client\"}");
  has("\"type\":\"server\"");
  has("\"name\":\"transport:packet_sent\",\"data\":{\"header\":{\"packet_type\":\"initial\",\"packet_number\":0},"
      "\"frames\":[{\"frame_"
      "type\":\"crypto\",\"offset\":0,\"length\":");
  has("\"name\":\"transport:packet_received\",\"data\":{\"header\":{\"packet_type\":\"handshake\"");
  has("{\"frame_type\":\"stream\",\"stream_id\":0,\"offset\":0,\"length\":5,\"fin\":false}");
  has("\"frame_type\":\"ack\",\"acked_ranges\":[[0,");
  has("\"frame_type\":\"path_challenge\"");
  has("\"name\":\"recovery:metrics_updated\",\"data\":{\"smoothed_rtt\":50.000");
  has("\"name\":\"connectivity:path_updated\",\"data\":{\"local\":\"10.0.0.3:");
  has("\"name\":\"connectivity:connection_closed\",\"data\":{\"owner\":\"local\"");
  has("\"name\":\"transport:datagrams_sent\",\"data\":{\"count\":1,\"raw\":[{\"length\":1200}]}");
  pair_free(p);
}

static void strange_lines_do_no_harm(void **state) {
  static const char *const lines[] = {"",
                                      " ",
                                      "I1 0x ",
                                      "I1 0x pkt",
                                      "I1 0x pkt rx",
                                      "I1 0x pkt rx pkn=",
                                      "I1 0x frm rx 0 1RTT STREAM(0x0a) id=1",
                                      "I1 0x pkt rx pkn=3 type=1RTT",
                                      "I1 0x frm rx 3",
                                      "I1 0x frm rx 3 1RTT",
                                      "I1 0x frm rx 3 1RTT \"quoted\"(0x01)",
                                      "I1 0x frm rx 3 1RTT ACK(0x02) range=[",
                                      "I1 0x frm rx 3 1RTT ACK(0x02) range=[18446744073709551616..5]",
                                      "I1 0x frm rx 3 1RTT AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA(0x01)",
                                      "I1 0x ldc pkn=lost",
                                      "I1 0x ldc pkn=9 lost type=1RTT"};
  ngtcp2_cid cid = {.datalen = 20};
  roam_tap tap = {.qlog = take};
  (void)state;
  begin();
  struct roam_quic_qlog *l = roam_quic_qlog_new(&tap, true, &cid, ROAM_S);
  assert_non_null(l);
  for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) roam_quic_qlog_line(l, ROAM_S, lines[i]);
  roam_quic_qlog_line(l, ROAM_S, "I1 0x pkt rx pkn=4 type=1RTT");
  for (int i = 0; i < 1000; i++)
    roam_quic_qlog_line(l, ROAM_S, "I1 0x frm rx 4 1RTT STREAM(0x0a) id=0 fin=1 offset=0 len=1");
  roam_quic_qlog_settle(l, ROAM_S, NULL);
  roam_quic_qlog_closed(l, 2 * ROAM_S, true, 7, "a \"quoted\"\nphrase\\");
  roam_quic_qlog_free(l);
  has("\"packet_number\":3}");
  has("\"packet_number\":4}");
  has("\"name\":\"recovery:packet_lost\",\"data\":{\"header\":{\"packet_type\":\"1RTT\",\"packet_number\":9}}");
  has("\"time\":1000.000,\"name\":\"connectivity:connection_closed\",\"data\":{\"owner\":\"remote\",\"code\":7,\"reason\":"
      "\"a ?quoted??phrase?\"}");
  assert_null(strstr(text, "quoted\"("));
  assert_int_equal(lasts, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_connection_tells_its_life),
      cmocka_unit_test(strange_lines_do_no_harm),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

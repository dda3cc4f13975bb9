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

/* And they add up to the datagrams: that of each kind of packet comes out of unprotected parts of the headers alone. */
static void every_packet_has_its_length(void) {
  size_t packets = 0, bytes = 0, of_datagrams = 0;
  for (const char *at = text, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
    const char *packet = strstr(at, "\"name\":\"transport:packet_"),
               *datagram = strstr(at, "\"name\":\"transport:datagrams_");
    if (packet && packet < end) {
      const char *length = strstr(packet, "\"raw\":{\"length\":");
      if (!length || length > end) fail_msg("without length: %.*s", (int)(end - at), at);
      bytes += strtoul(length + 16, NULL, 10);
      packets++;
    } else if (datagram && datagram < end) {
      of_datagrams += strtoul(strstr(datagram, "{\"length\":") + 10, NULL, 10);
    }
  }
  assert_true(packets > 20);
  assert_int_equal(bytes, of_datagrams);
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
  has("{\"frame_type\":\"stream\",\"stream_id\":0,\"offset\":0,\"length\":5}");
  has("\"frame_type\":\"ack\",\"ack_delay\":0,\"acked_ranges\":[[0,");
  has("\"frame_type\":\"path_challenge\",\"data\":\"");
  has("\"frame_type\":\"new_connection_id\",\"sequence_number\":1,\"retire_prior_to\":0,\"connection_id\":\"");
  has("\"frame_type\":\"new_token\",\"token\":{\"length\":41}");
  has("\"frame_type\":\"connection_close\",\"error_space\":\"application\",\"raw_error_code\":0}");
  has("\"name\":\"connectivity:connection_started\",\"data\":{\"ip_version\":\"v4\",\"src_ip\":\"10.0.0.2\",\"dst_ip\":"
      "\"10.0.0.1\"");
  has("\"name\":\"transport:parameters_set\",\"data\":{\"owner\":\"remote\",\"initial_max_data\":");
  assert_null(strstr(text, "reset_token"));
  every_packet_has_its_length();
  has("\"name\":\"recovery:metrics_updated\",\"data\":{\"smoothed_rtt\":50.000");
  has("\"name\":\"connectivity:path_updated\",\"data\":{\"local\":\"10.0.0.3:");
  has("\"name\":\"connectivity:connection_closed\",\"data\":{\"owner\":\"local\",\"application_code\":0,");
  has("\"name\":\"transport:datagrams_sent\",\"data\":{\"count\":1,\"raw\":[{\"length\":1200}]}");
  pair_free(p);
}

/* Headers that lie about their lengths, cut at every byte: a piece never reaches beyond its datagram. */
static void strange_datagrams_do_no_harm(void **state) {
  static const uint8_t headers[][24] = {
      {0xc0, 0, 0, 0, 1, 4, 1, 2, 3, 4, 2, 1, 2, 1, 9, 4, 1, 2, 3, 4},           /* initial with a token, 4 bytes */
      {0xc0, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},  /* a token longer than everything */
      {0xe0, 0, 0, 0, 1, 0, 0, 0xbf, 0xff, 0xff, 0xff},                          /* a handshake as long */
      {0xe0, 0, 0, 0, 1, 255, 0, 1, 1},                                          /* a connection id as long */
      {0xf0, 0x6b, 0x33, 0x43, 0xcf, 0, 0, 2, 1, 1},                             /* version 2 */
      {0xe0, 0, 0, 0, 1, 0, 0, 0, 0xe0, 0, 0, 0, 1, 0, 0, 0, 0xe0, 0, 0, 0, 1}}; /* pieces of no length */
  ngtcp2_cid cid = {.datalen = 20};
  roam_tap tap = {.qlog = take};
  (void)state;
  begin();
  struct roam_quic_qlog *l = roam_quic_qlog_new(&tap, true, &cid, ROAM_S);
  assert_non_null(l);
  for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
    for (size_t len = 0; len <= sizeof headers[0]; len++) {
      uint8_t *copy = malloc(len ? len : 1); /* so that a byte too far is seen */
      memcpy(copy, headers[i], len);
      roam_quic_qlog_datagram(l, ROAM_S, false, (roam_bytes){copy, len});
      roam_quic_qlog_line(l, ROAM_S, "I1 0x pkt rx pkn=4 type=Initial");
      roam_quic_qlog_line(l, ROAM_S, "I1 0x pkt rx pkn=4 type=Handshake");
      roam_quic_qlog_settle(l, ROAM_S, NULL);
      free(copy);
    }
  has("\"packet_type\":\"initial\",\"packet_number\":4},\"frames\":[],\"raw\":{\"length\":20}");
  roam_quic_qlog_free(l);
}

static void strange_lines_do_no_harm(void **state) {
  static const char *const lines[] = {
      "",
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
      "I1 0x ldc pkn=9 lost type=1RTT",
      "I1 0x pkt tx pkn=11 type=1RTT",
      "I1 0x con cancel tx pkn=11 type=1RTT",
      "I1 0x con cancel tx pkn=3",
      "I1 0x con cancel tx ",
      "I1 0x cry remote transport_parameters ",
      "I1 0x cry remote transport_parameters initial_max_datax=1",
      "I1 0x cry remote transport_parameters stateless_reset_token=0xabcd",
      "I1 0x frm rx 3 1RTT STREAM(0x0a)",
      "I1 0x frm rx 3 1RTT ACK(0x02) range=[1..5] len=4",
      "I1 0x frm rx 3 1RTT ACK(0x02) largest_ack=9 ack_delay=7(70) ack_range_count=1",
      "I1 0x frm rx 3 1RTT ACK(0x02) range=[9..8] len=1",
      "I1 0x frm rx 3 1RTT ACK(0x02) range=[5..5] gap=1 len=0",
      "I1 0x frm rx 3 1RTT CONNECTION_CLOSE(0x1d) error_code=NO_ERROR(0x8e) frame_type=0 reason_len=9 reason=[a\"},{\"b]",
      "I1 0x frm rx 3 1RTT NEW_CONNECTION_ID(0x18) seq=1 cid=0xqq\" retire_prior_to=0"};
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
  struct roam_quic_qlog_end end = {
      .by_peer = true, .said = true, .application = true, .code = 7, .text = "a \"quoted\"\nphrase\\"};
  roam_quic_qlog_closed(l, 2 * ROAM_S, &end);
  roam_quic_qlog_free(l);
  has("\"packet_number\":3}");
  has("\"packet_number\":4}");
  has("\"name\":\"recovery:packet_lost\",\"data\":{\"header\":{\"packet_type\":\"1RTT\",\"packet_number\":9}}");
  has("\"time\":1000.000,\"name\":\"connectivity:connection_closed\",\"data\":{\"owner\":\"remote\",\"application_code\":7,"
      "\"reason\":"
      "\"a ?quoted??phrase?\"}");
  has("{\"frame_type\":\"ack\",\"ack_delay\":7,\"acked_ranges\":[[8,9],[5,5]]}");
  has("{\"frame_type\":\"connection_close\",\"error_space\":\"application\",\"raw_error_code\":142}");
  has("\"connection_id\":\"\"}");
  assert_null(strstr(text, "quoted\"("));
  assert_null(strstr(text, "\"packet_number\":11"));
  assert_null(strstr(text, "initial_max_datax"));
  assert_null(strstr(text, "},{\"b"));
  assert_int_equal(lasts, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_connection_tells_its_life),
      cmocka_unit_test(strange_lines_do_no_harm),
      cmocka_unit_test(strange_datagrams_do_no_harm),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* quic_qlog.c - see quic_qlog.h.
 *
 * Theory of operation. ngtcp2 hides packet numbers and frames, and its own qlog writer overflows its stack on hostile input
 * in the versions we must support. But its log tells of each packet and frame in one short line of a fixed form, which is
 * handed to us as format and arguments, so its length is bounded by our buffer. Those lines are read here:
 *
 *   I00000050 0x<cid> pkt rx pkn=0 dcid=0x.. scid=0x.. version=.. type=Initial len=119
 *   I00000050 0x<cid> frm rx 0 Initial CRYPTO(0x06) offset=0 len=90
 *
 * A packet line opens an event, its frame lines fill it (quic_qlog_frames.c), and the datagram it is part of, or the
 * library's return, closes it: qvis draws by packets' lengths, which only the datagram tells. A line that is not understood
 * is left out; nothing a peer sends appears but numbers and hexadecimal, and words of the library's own. Round-trip time
 * and window come from ngtcp2_conn_get_conn_info, paths and datagrams from the connection.
 *
 * Every buffer is fixed; frames that do not fit into a packet's event are left out. */
#include "transport/quic_qlog.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "transport/quic_qlog_frames.h"

#define PARAMETERS "cry remote transport_parameters "

enum {
  OUT_BYTES = 4096,
  NAME_BYTES = 2 * NGTCP2_MAX_CIDLEN + 8,
  COALESCED_MAX = 4, /* packets of one datagram: one of each kind */
  IP_TEXT_MAX = ROAM_ADDR_TEXT_MAX
};

struct packet {
  bool sent;
  const char *type; /* qlog's word */
  uint64_t number;
  struct roam_qlog_frames frames;
};

/* A piece of the datagram at hand. */
struct piece {
  const char *type;
  size_t len;
};

struct roam_quic_qlog {
  roam_tap tap;
  roam_time began;
  char name[NAME_BYTES];
  size_t packets_count; /* told of, not yet written */
  struct packet packets[COALESCED_MAX];
  size_t pieces_count; /* of a datagram that has arrived */
  struct piece pieces[COALESCED_MAX];
  /* metrics as last written */
  uint64_t rtt, cwnd, in_flight;
};

/* ---- writing --------------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void emit(struct roam_quic_qlog *l, const char *format, ...) {
  char out[OUT_BYTES];
  va_list args;
  out[0] = 0x1e; /* RS begins a record, a newline ends it */
  va_start(args, format);
  int n = vsnprintf(out + 1, sizeof out - 2, format, args);
  va_end(args);
  if (n < 0 || (size_t)n >= sizeof out - 2) return;
  out[1 + n] = '\n';
  l->tap.qlog(l->tap.context, l->name, (roam_bytes){(const uint8_t *)out, (size_t)n + 2}, false);
}

static double ms_since(const struct roam_quic_qlog *l, roam_time now) {
  return (double)(now > l->began ? now - l->began : 0) / (double)ROAM_MS;
}

struct roam_quic_qlog *roam_quic_qlog_new(const roam_tap *tap, bool server, const ngtcp2_cid *original, roam_time now) {
  struct roam_quic_qlog *l = calloc(1, sizeof *l);
  char odcid[2 * NGTCP2_MAX_CIDLEN + 1] = "";
  const char *side = server ? "server" : "client";
  if (!l) return NULL;
  l->tap = *tap;
  l->began = now;
  for (size_t i = 0; i < original->datalen; i++) snprintf(odcid + 2 * i, 3, "%02x", original->data[i]);
  snprintf(l->name, sizeof l->name, "%s_%s", odcid, side);
  emit(
      l,
      "{\"qlog_version\":\"0.3\",\"qlog_format\":\"JSON-SEQ\",\"title\":\"roamqtt\",\"trace\":{\"vantage_point\":{\"name\":"
      "\"roamqtt\",\"type\":\"%s\"},\"common_fields\":{\"ODCID\":\"%s\",\"group_id\":\"%s\",\"protocol_type\":[\"QUIC\"],"
      "\"time_format\":\"relative\",\"reference_time\":0}}}",
      side, odcid, odcid);
  return l;
}

/* The length of the first piece of that type, which is used up; 0: not known. */
static size_t take_piece(struct piece pieces[], size_t *count, const char *type) {
  for (size_t i = 0; i < *count; i++) {
    size_t len = pieces[i].len;
    if (strcmp(pieces[i].type, type) != 0) continue;
    memmove(&pieces[i], &pieces[i + 1], (--*count - i) * sizeof pieces[0]);
    return len;
  }
  return 0;
}

static void write_packets(struct roam_quic_qlog *l, roam_time now, struct piece pieces[], size_t *count) {
  for (size_t i = 0; i < l->packets_count; i++) {
    const struct packet *p = &l->packets[i];
    char raw[48] = "";
    size_t len = take_piece(pieces, count, p->type);
    if (len > 0) snprintf(raw, sizeof raw, ",\"raw\":{\"length\":%zu}", len);
    emit(l,
         "{\"time\":%.3f,\"name\":\"transport:packet_%s\",\"data\":{\"header\":{\"packet_type\":\"%s\",\"packet_number\":"
         "%" PRIu64 "},\"frames\":[%s]%s}}",
         ms_since(l, now), p->sent ? "sent" : "received", p->type, p->number, p->frames.text, raw);
  }
  l->packets_count = 0;
}

void roam_quic_qlog_free(struct roam_quic_qlog *l) {
  if (!l) return;
  l->tap.qlog(l->tap.context, l->name, (roam_bytes){0}, true);
  free(l);
}

/* ---- reading the library's lines ------------------------------------------------------------------------------------- */

/* "1RTT" and the like become qlog's words. */
static const char *type_named(const char *name) {
  static const struct {
    const char *theirs, *qlog;
  } types[] = {{"Initial", "initial"}, {"Handshake", "handshake"}, {"0RTT", "0RTT"},
               {"1RTT", "1RTT"},       {"Short", "1RTT"},          {"Retry", "retry"}};
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
    if (strncmp(name, types[i].theirs, strlen(types[i].theirs)) == 0) return types[i].qlog;
  return "unknown";
}

static const char *type_of(const char *line) {
  const char *at = strstr(line, "type=");
  return type_named(at ? at + 5 : "");
}

static struct packet *open_packet(struct roam_quic_qlog *l, roam_time now, bool sent, uint64_t number, const char *type) {
  if (l->packets_count == COALESCED_MAX) write_packets(l, now, l->pieces, &l->pieces_count);
  struct packet *p = &l->packets[l->packets_count++];
  p->sent = sent;
  p->number = number;
  p->type = type;
  roam_qlog_frames_clear(&p->frames);
  return p;
}

static void take_packet(struct roam_quic_qlog *l, roam_time now, bool sent, const char *line) {
  uint64_t number;
  if (roam_qlog_number(line, " pkn=", &number)) open_packet(l, now, sent, number, type_of(line));
}

/* rest: number, type and frame. Of a packet of padding alone the library says no more than this. */
static void take_frame(struct roam_quic_qlog *l, roam_time now, bool sent, const char *rest) {
  char *end;
  uint64_t number = strtoull(rest, &end, 10);
  if (end == rest || *end != ' ') return;
  const char *type = type_named(end + 1);
  struct packet *p = l->packets_count > 0 ? &l->packets[l->packets_count - 1] : NULL;
  if (!p || p->sent != sent || p->number != number || strcmp(p->type, type) != 0)
    p = open_packet(l, now, sent, number, type);
  roam_qlog_frames_add(&p->frames, rest);
}

/* The library had begun a packet and then found nothing to say. */
static void cancel_packet(struct roam_quic_qlog *l, const char *line) {
  uint64_t number;
  size_t last = l->packets_count;
  if (last > 0 && roam_qlog_number(line, " pkn=", &number) && l->packets[last - 1].sent &&
      l->packets[last - 1].number == number)
    l->packets_count--;
}

/* The peer's transport parameters come one in a line. */
static void tell_parameter(struct roam_quic_qlog *l, roam_time now, const char *line) {
  static const char *const names[] = {"initial_max_stream_data_bidi_local",
                                      "initial_max_stream_data_bidi_remote",
                                      "initial_max_stream_data_uni",
                                      "initial_max_data",
                                      "initial_max_streams_bidi",
                                      "initial_max_streams_uni",
                                      "max_idle_timeout",
                                      "max_udp_payload_size",
                                      "ack_delay_exponent",
                                      "max_ack_delay",
                                      "active_connection_id_limit",
                                      "max_datagram_frame_size"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    size_t n = strlen(names[i]);
    if (strncmp(line, names[i], n) != 0 || line[n] != '=') continue;
    emit(l, "{\"time\":%.3f,\"name\":\"transport:parameters_set\",\"data\":{\"owner\":\"remote\",\"%s\":%" PRIu64 "}}",
         ms_since(l, now), names[i], (uint64_t)strtoull(line + n + 1, NULL, 10));
    return;
  }
}

static void lost_packet(struct roam_quic_qlog *l, roam_time now, const char *line) {
  uint64_t number;
  if (!roam_qlog_number(line, " pkn=", &number)) return;
  emit(l,
       "{\"time\":%.3f,\"name\":\"recovery:packet_lost\",\"data\":{\"header\":{\"packet_type\":\"%s\",\"packet_number\":"
       "%" PRIu64 "}}}",
       ms_since(l, now), type_of(line), number);
}

void roam_quic_qlog_line(struct roam_quic_qlog *l, roam_time now, const char *line) {
  const char *at = strchr(line, ' ');
  at = at ? strchr(at + 1, ' ') : NULL; /* behind the time and the connection id */
  if (!at) return;
  at++;
  bool sent = strncmp(at, "pkt tx ", 7) == 0;
  if (sent || strncmp(at, "pkt rx ", 7) == 0) {
    take_packet(l, now, sent, at);
  } else if (strncmp(at, "frm tx ", 7) == 0 || strncmp(at, "frm rx ", 7) == 0) {
    take_frame(l, now, at[4] == 't', at + 7);
  } else if (strncmp(at, "con cancel tx ", 14) == 0) {
    cancel_packet(l, at);
  } else if (strncmp(at, PARAMETERS, sizeof PARAMETERS - 1) == 0) {
    tell_parameter(l, now, at + sizeof PARAMETERS - 1);
  } else if (strncmp(at, "ldc pkn=", 8) == 0 && strstr(at, "lost")) {
    lost_packet(l, now, at);
  }
}

/* ---- what the connection says ---------------------------------------------------------------------------------------- */

void roam_quic_qlog_settle(struct roam_quic_qlog *l, roam_time now, const ngtcp2_conn *nc) {
  ngtcp2_conn_info info;
  if (!l) return;
  write_packets(l, now, l->pieces, &l->pieces_count);
  if (!nc) return;
  ngtcp2_conn_get_conn_info((ngtcp2_conn *)(uintptr_t)nc, &info);
  if (info.smoothed_rtt == l->rtt && info.cwnd == l->cwnd && info.bytes_in_flight == l->in_flight) return;
  l->rtt = info.smoothed_rtt;
  l->cwnd = info.cwnd;
  l->in_flight = info.bytes_in_flight;
  emit(l,
       "{\"time\":%.3f,\"name\":\"recovery:metrics_updated\",\"data\":{\"smoothed_rtt\":%.3f,\"latest_rtt\":%.3f,"
       "\"congestion_window\":%" PRIu64 ",\"bytes_in_flight\":%" PRIu64 "}}",
       ms_since(l, now), (double)info.smoothed_rtt / (double)ROAM_MS, (double)info.latest_rtt / (double)ROAM_MS,
       (uint64_t)info.cwnd, (uint64_t)info.bytes_in_flight);
}

void roam_quic_qlog_path(struct roam_quic_qlog *l, roam_time now, const char *what, const roam_addr *local,
                         const roam_addr *remote) {
  char a[ROAM_ADDR_TEXT_MAX], b[ROAM_ADDR_TEXT_MAX];
  if (!l) return;
  emit(l, "{\"time\":%.3f,\"name\":\"connectivity:%s\",\"data\":{\"local\":\"%s\",\"remote\":\"%s\"}}", ms_since(l, now),
       what, roam_addr_format(local, a), roam_addr_format(remote, b));
}

/* ---- datagrams and their pieces ---------------------------------------------------------------------------------------
 */

static size_t read_varint(const uint8_t *at, const uint8_t *end, uint64_t *out) {
  size_t n = at < end ? (size_t)1 << (at[0] >> 6) : 1;
  if ((size_t)(end - at) < n) return 0;
  *out = at[0] & 0x3f;
  for (size_t i = 1; i < n; i++) *out = *out << 8 | at[i];
  return n;
}

/* Type and length of the packet at the front: in long headers neither is protected (RFC 9000 section 17.2). */
static struct piece cut_piece(const uint8_t *at, size_t len) {
  static const char *const types[] = {"initial", "0RTT", "handshake", "retry"};
  const uint8_t *begin = at, *end = at + len;
  struct piece rest = {"1RTT", len};
  uint64_t n;
  if (len < 7 || !(at[0] & 0x80)) return rest;
  bool second = at[1] == 0x6b; /* version 2 counts from another type (RFC 9369) */
  rest.type = types[((at[0] >> 4 & 3) + (second ? 3 : 0)) % 4];
  at += 5;
  for (int i = 0; i < 2; i++) { /* both connection ids */
    if (at >= end || (size_t)(end - at) <= *at) return rest;
    at += 1 + *at;
  }
  if (rest.type == types[3]) return rest;
  if (rest.type == types[0]) {
    size_t used = read_varint(at, end, &n);
    if (used == 0 || n > (size_t)(end - at) - used) return rest;
    at += used + n;
  }
  size_t used = read_varint(at, end, &n);
  if (used == 0 || n > (size_t)(end - at) - used) return rest;
  rest.len = (size_t)(at - begin) + used + (size_t)n;
  return rest;
}

static size_t cut(struct piece pieces[COALESCED_MAX], roam_bytes datagram) {
  size_t count = 0;
  for (size_t at = 0; at < datagram.len && count < COALESCED_MAX;) {
    pieces[count] = cut_piece(datagram.base + at, datagram.len - at);
    at += pieces[count++].len;
  }
  return count;
}

/* What was sent has been told of before; what arrives, after. */
void roam_quic_qlog_datagram(struct roam_quic_qlog *l, roam_time now, bool sent, roam_bytes datagram) {
  if (!l) return;
  if (!sent) write_packets(l, now, l->pieces, &l->pieces_count);
  l->pieces_count = cut(l->pieces, datagram);
  if (sent) write_packets(l, now, l->pieces, &l->pieces_count);
  if (sent) l->pieces_count = 0;
  emit(l, "{\"time\":%.3f,\"name\":\"transport:datagrams_%s\",\"data\":{\"count\":1,\"raw\":[{\"length\":%zu}]}}",
       ms_since(l, now), sent ? "sent" : "received", datagram.len);
}

/* ---- begin and end ----------------------------------------------------------------------------------------------------
 */

void roam_quic_qlog_started(struct roam_quic_qlog *l, roam_time now, const roam_addr *local, const roam_addr *remote) {
  char a[IP_TEXT_MAX], b[IP_TEXT_MAX];
  roam_addr here = roam_addr_with_port(*local, 0), there = roam_addr_with_port(*remote, 0);
  emit(l,
       "{\"time\":%.3f,\"name\":\"connectivity:connection_started\",\"data\":{\"ip_version\":\"v%u\",\"src_ip\":\"%s\","
       "\"dst_ip\":\"%s\",\"protocol\":\"QUIC\",\"src_port\":%u,\"dst_port\":%u}}",
       ms_since(l, now), (unsigned)local->family, roam_addr_format(&here, a), roam_addr_format(&there, b),
       (unsigned)local->port, (unsigned)remote->port);
}

void roam_quic_qlog_closed(struct roam_quic_qlog *l, roam_time now, const struct roam_quic_qlog_end *end) {
  char clean[ROAM_ADDR_TEXT_MAX * 2], code[64] = "";
  const char *text = end->text;
  size_t n = 0;
  if (!l) return;
  write_packets(l, now, l->pieces, &l->pieces_count);
  for (; text && text[n] && n + 1 < sizeof clean; n++)
    clean[n] = text[n] < 0x20 || text[n] == '"' || text[n] == '\\' || (text[n] & 0x80) ? '?' : text[n];
  clean[n] = 0;
  if (end->said)
    snprintf(code, sizeof code, ",\"%s_code\":%" PRIu64, end->application ? "application" : "connection", end->code);
  emit(l, "{\"time\":%.3f,\"name\":\"connectivity:connection_closed\",\"data\":{\"owner\":\"%s\"%s,\"reason\":\"%s\"}}",
       ms_since(l, now), end->by_peer ? "remote" : "local", code, clean);
}

/* quic_qlog.c - see quic_qlog.h.
 *
 * Theory of operation. ngtcp2 hides packet numbers and frames, and its own qlog writer overflows its stack on hostile input
 * in the versions we must support. But its log tells of each packet and frame in one short line of a fixed form, which is
 * handed to us as format and arguments, so its length is bounded by our buffer. Those lines are read here:
 *
 *   I00000050 0x<cid> pkt rx pkn=0 dcid=0x.. scid=0x.. version=.. type=Initial len=119
 *   I00000050 0x<cid> frm rx 0 Initial CRYPTO(0x06) offset=0 len=90
 *
 * A packet line opens an event, its frame lines fill it, and the next packet line or the library's return closes it. A line
 * that is not understood is left out; nothing a peer sends appears but numbers, and words of the library's own. Round-trip
 * time and window come from ngtcp2_conn_get_conn_info, paths and datagrams from the connection.
 *
 * Every buffer is fixed; frames that do not fit into a packet's event are left out. */
#include "transport/quic_qlog.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  FRAMES_BYTES = 3072,
  OUT_BYTES = 4096,
  NAME_BYTES = 2 * NGTCP2_MAX_CIDLEN + 8,
  WORD_BYTES = 40
};

struct roam_quic_qlog {
  roam_tap tap;
  roam_time began;
  char name[NAME_BYTES];
  /* the packet at hand */
  bool open, sent;
  char type[16];
  uint64_t number;
  size_t frames_len;
  char frames[FRAMES_BYTES];
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

static void close_packet(struct roam_quic_qlog *l, roam_time now) {
  if (!l->open) return;
  l->open = false;
  emit(l,
       "{\"time\":%.3f,\"name\":\"transport:packet_%s\",\"data\":{\"header\":{\"packet_type\":\"%s\",\"packet_number\":"
       "%" PRIu64 "},\"frames\":[%s]}}",
       ms_since(l, now), l->sent ? "sent" : "received", l->type, l->number, l->frames);
}

void roam_quic_qlog_free(struct roam_quic_qlog *l) {
  if (!l) return;
  l->tap.qlog(l->tap.context, l->name, (roam_bytes){0}, true);
  free(l);
}

/* ---- reading the library's lines ------------------------------------------------------------------------------------- */

static bool number_of(const char *line, const char *key, uint64_t *out) {
  const char *at = strstr(line, key);
  if (!at) return false;
  char *end;
  *out = strtoull(at + strlen(key), &end, 0);
  return end != at + strlen(key);
}

/* "1RTT" and the like become qlog's words. */
static const char *type_of(const char *line) {
  static const struct {
    const char *theirs, *qlog;
  } types[] = {{"Initial", "initial"}, {"Handshake", "handshake"}, {"0RTT", "0RTT"},
               {"1RTT", "1RTT"},       {"Short", "1RTT"},          {"Retry", "retry"}};
  const char *at = strstr(line, "type=");
  for (size_t i = 0; at && i < sizeof types / sizeof types[0]; i++)
    if (strncmp(at + 5, types[i].theirs, strlen(types[i].theirs)) == 0) return types[i].qlog;
  return "unknown";
}

static void open_packet(struct roam_quic_qlog *l, bool sent, const char *line) {
  if (!number_of(line, "pkn=", &l->number)) return;
  l->open = true;
  l->sent = sent;
  snprintf(l->type, sizeof l->type, "%s", type_of(line));
  l->frames_len = 0;
  l->frames[0] = 0;
}

__attribute__((format(printf, 2, 3))) static void add(struct roam_quic_qlog *l, const char *format, ...) {
  size_t room = sizeof l->frames - l->frames_len;
  va_list args;
  va_start(args, format);
  int n = vsnprintf(l->frames + l->frames_len, room, format, args);
  va_end(args);
  if (n >= 0 && (size_t)n < room) l->frames_len += (size_t)n;
  else l->frames[l->frames_len] = 0;
}

static const char *separator(const struct roam_quic_qlog *l) { return l->frames_len > 0 ? "," : ""; }

static void add_plain(struct roam_quic_qlog *l, const char *word) {
  char lower[WORD_BYTES];
  size_t n = 0;
  for (; word[n] && n + 1 < sizeof lower; n++) lower[n] = word[n] >= 'A' && word[n] <= 'Z' ? (char)(word[n] + 32) : word[n];
  lower[n] = 0;
  add(l, "%s{\"frame_type\":\"%s\"}", separator(l), lower);
}

static void add_data(struct roam_quic_qlog *l, const char *word, const char *rest) {
  uint64_t offset = 0, len = 0, id = 0, fin = 0;
  number_of(rest, "offset=", &offset);
  number_of(rest, "len=", &len);
  if (strcmp(word, "CRYPTO") == 0) {
    add(l, "%s{\"frame_type\":\"crypto\",\"offset\":%" PRIu64 ",\"length\":%" PRIu64 "}", separator(l), offset, len);
    return;
  }
  number_of(rest, "id=", &id);
  number_of(rest, "fin=", &fin);
  add(l, "%s{\"frame_type\":\"stream\",\"stream_id\":%" PRIu64 ",\"offset\":%" PRIu64 ",\"length\":%" PRIu64 ",\"fin\":%s}",
      separator(l), id, offset, len, fin ? "true" : "false");
}

/* An ACK comes as one line with its largest number and one line for each range. */
static void add_ack(struct roam_quic_qlog *l, const char *rest) {
  uint64_t high, low;
  const char *range = strstr(rest, "range=["), *dots = range ? strstr(range, "..") : NULL;
  if (!dots) return;
  high = strtoull(range + 7, NULL, 10);
  low = strtoull(dots + 2, NULL, 10);
  add(l, "%s{\"frame_type\":\"ack\",\"acked_ranges\":[[%" PRIu64 ",%" PRIu64 "]]}", separator(l), low < high ? low : high,
      low < high ? high : low);
}

/* rest: behind "frm tx " : "0 1RTT STREAM(0x0a) id=0x0 ..." */
static void add_frame(struct roam_quic_qlog *l, const char *rest) {
  char word[WORD_BYTES];
  const char *at = strchr(rest, ' ');
  at = at ? strchr(at + 1, ' ') : NULL;
  if (!at || !l->open) return;
  size_t n = strcspn(++at, "(");
  if (n == 0 || n >= sizeof word || strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != n) return;
  memcpy(word, at, n);
  word[n] = 0;
  if (strcmp(word, "STREAM") == 0 || strcmp(word, "CRYPTO") == 0) add_data(l, word, at);
  else if (strncmp(word, "ACK", 3) == 0) add_ack(l, at);
  else add_plain(l, word);
}

static void lost_packet(struct roam_quic_qlog *l, roam_time now, const char *line) {
  uint64_t number;
  if (!number_of(line, "pkn=", &number)) return;
  emit(l,
       "{\"time\":%.3f,\"name\":\"recovery:packet_lost\",\"data\":{\"header\":{\"packet_type\":\"1RTT\",\"packet_number\":"
       "%" PRIu64 "}}}",
       ms_since(l, now), number);
}

void roam_quic_qlog_line(struct roam_quic_qlog *l, roam_time now, const char *line) {
  const char *at = strchr(line, ' ');
  at = at ? strchr(at + 1, ' ') : NULL; /* behind the time and the connection id */
  if (!at) return;
  at++;
  bool sent = strncmp(at, "pkt tx ", 7) == 0;
  if (sent || strncmp(at, "pkt rx ", 7) == 0) {
    close_packet(l, now);
    open_packet(l, sent, at);
  } else if (strncmp(at, "frm tx ", 7) == 0 || strncmp(at, "frm rx ", 7) == 0) {
    add_frame(l, at + 7);
  } else if (strncmp(at, "ldc pkn=", 8) == 0 && strstr(at, "lost")) {
    lost_packet(l, now, at);
  }
}

/* ---- what the connection says ---------------------------------------------------------------------------------------- */

void roam_quic_qlog_settle(struct roam_quic_qlog *l, roam_time now, const ngtcp2_conn *nc) {
  ngtcp2_conn_info info;
  if (!l) return;
  close_packet(l, now);
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

void roam_quic_qlog_datagram(struct roam_quic_qlog *l, roam_time now, bool sent, size_t len) {
  if (!l) return;
  emit(l, "{\"time\":%.3f,\"name\":\"transport:datagrams_%s\",\"data\":{\"count\":1,\"raw\":[{\"length\":%zu}]}}",
       ms_since(l, now), sent ? "sent" : "received", len);
}

void roam_quic_qlog_closed(struct roam_quic_qlog *l, roam_time now, bool by_peer, uint64_t code, const char *text) {
  char clean[ROAM_ADDR_TEXT_MAX * 2];
  size_t n = 0;
  if (!l) return;
  close_packet(l, now);
  for (; text && text[n] && n + 1 < sizeof clean; n++)
    clean[n] = text[n] < 0x20 || text[n] == '"' || text[n] == '\\' || (text[n] & 0x80) ? '?' : text[n];
  clean[n] = 0;
  emit(l,
       "{\"time\":%.3f,\"name\":\"connectivity:connection_closed\",\"data\":{\"owner\":\"%s\",\"code\":%" PRIu64
       ",\"reason\":\"%s\"}}",
       ms_since(l, now), by_peer ? "remote" : "local", code, clean);
}

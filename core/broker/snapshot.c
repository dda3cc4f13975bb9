/* snapshot.c - what the broker knows about its clients, for people and tools. Getters only: nothing changes by looking. */
#include "broker/broker.h"

#include <string.h>

static void copy_cut(roam_blob *from, char *to, size_t cap) {
  size_t len = from ? roam_blob_len(from) : 0, cut = len < cap - 1 ? len : cap - 1;
  if (cut > 0) memcpy(to, roam_blob_data(from), cut);
  to[cut] = 0;
}

static void copy_id(const struct roam_record *r, roam_peer_info *out) {
  copy_cut(r->id, out->client_id, sizeof out->client_id);
}

static void fill_conn(const roam_conn *conn, roam_peer_info *out) {
  roam_conn_info info = roam_conn_get_info(conn);
  out->rtt_ns = info.rtt_ns;
  out->min_rtt_ns = info.min_rtt_ns;
  out->resumed = info.resumed;
  out->early_data = info.early_data_accepted;
  out->key_updates = info.key_updates;
  out->cwnd_bytes = info.cwnd_bytes;
  out->bytes_in_flight = info.bytes_in_flight;
  out->bytes_in = info.bytes_in;
  out->bytes_out = info.bytes_out;
  out->udp_in = info.udp_in;
  out->udp_out = info.udp_out;
  out->handshake_bytes_in = info.handshake_bytes_in;
  out->handshake_bytes_out = info.handshake_bytes_out;
  out->stream_bytes_out = info.stream_bytes_out;
  out->packets_lost = info.packets_lost;
}

static void fill(const roam_broker *b, const struct roam_record *r, roam_peer_info *out) {
  *out = (roam_peer_info){
      .connected = r->peer != NULL,
      .transport = (roam_transport_kind)r->transport,
      .version = r->version,
      .ip_address = r->history.now,
      .connect_address = r->history.at_connect,
      .moves = r->history.moves,
      .connects = r->history.connects,
      .connected_at = r->connected_at,
      .messages_in = r->past_in,
      .messages_out = r->past_out,
      .dropped = r->past_dropped,
      .keep_alive_s = r->keep_alive_s,
  };
  copy_id(r, out);
  copy_cut(r->user, out->user_name, sizeof out->user_name);
  if (r->peer) fill_conn(r->peer->conn, out);
  if (r->peer) out->memory_bytes = roam_conn_memory(r->peer->conn).bytes + r->inflight_seen;
  if (!r->session) return;
  roam_session_info info = roam_session_get_info(r->session);
  out->subscriptions = roam_lanes_subscriptions(b, r->number);
  out->lanes = r->peer ? roam_lanes_count(r->peer) : 0;
  out->inflight = info.inflight;
  out->queued = info.queued;
  out->queued_bytes = info.queued_bytes;
  out->messages_in += info.messages_in;
  out->messages_out += info.messages_out;
  out->dropped += info.dropped;
}

size_t roam_broker_clients(const roam_broker *b, size_t offset, roam_peer_info out[], size_t n) {
  size_t count = 0;
  ROAM_LIST_EACH(&b->order, node) {
    if (offset > 0) {
      offset--;
      continue;
    }
    if (count == n) break;
    fill(b, ROAM_CONTAINER(node, struct roam_record, order), &out[count++]);
  }
  return count;
}

roam_rc roam_broker_client(const roam_broker *b, const char *client_id, roam_peer_info *out) {
  const struct roam_record *r = roam_sessions_find(b, client_id, strlen(client_id));
  if (!r) return ROAM_E_NOT_FOUND;
  fill(b, r, out);
  return 0;
}

size_t roam_broker_history(const roam_broker *b, const char *client_id, roam_address_change out[], size_t n) {
  const struct roam_record *r = roam_sessions_find(b, client_id, strlen(client_id));
  return r ? roam_history_read(&r->history, out, n) : 0;
}

static void add_quic(const roam_broker *b, roam_broker_stats *stats) {
  const roam_transport *quic = b->transports[ROAM_TRANSPORT_QUIC - 1];
  if (!quic) return;
  roam_quic_totals totals = roam_quic_get_totals(quic);
  stats->handshakes_resumed = totals.resumed;
  stats->early_accepted = totals.early_accepted;
  stats->early_repeated = totals.early_repeated;
  stats->early_full = totals.early_full;
  stats->retries_sent = totals.retries_sent;
  stats->resets_sent = totals.resets_sent;
  stats->datagrams_direct = totals.direct;
  stats->early_elsewhere = totals.early_elsewhere;
}

roam_broker_stats roam_broker_get_stats(const roam_broker *b) {
  roam_broker_stats stats = b->stats;
  stats.connections = b->peers_count;
  stats.queued_bytes = b->queued_bytes;
  stats.memory_bytes = b->held_bytes;
  for (size_t i = 0; i < ROAM_BROKER_TRANSPORTS; i++) {
    if (!b->transports[i]) continue;
    stats.connections_refused += roam_transport_refused(b->transports[i]);
    stats.handshakes += roam_transport_handshakes(b->transports[i]);
  }
  stats.sessions = b->sessions_count;
  stats.subscriptions = b->topics.count;
  stats.retained = b->retained.count - b->retained.own;
  stats.messages_out = b->past_out;
  stats.store_commits = b->durable.commits;
  stats.store_pending_bytes = b->durable.on ? b->durable.open.len + b->durable.cut.batch.len + b->durable.sealed.len : 0;
  stats.store_failed = b->durable.failed;
  stats.messages_dropped += b->past_dropped;
  if (b->mail) {
    stats.letters_in = b->mail->letters_in;
    stats.letters_out = b->mail->letters_out;
  }
  add_quic(b, &stats);
  ROAM_LIST_EACH(&b->order, node) {
    const struct roam_record *r = ROAM_CONTAINER(node, struct roam_record, order);
    if (!r->session) continue;
    roam_session_info info = roam_session_get_info(r->session);
    stats.messages_out += info.messages_out;
    stats.messages_dropped += info.dropped;
  }
  return stats;
}

#define ADD_SUM(name) sum->name += other->name;
#define ADD_ANY(name) sum->name |= other->name;
#define ADD_SAME(name)

void roam_broker_stats_add(roam_broker_stats *sum, const roam_broker_stats *other) {
#define X(type, name, how, meaning) ADD_##how(name)
  ROAM_BROKER_STATS_MAP(X)
#undef X
}

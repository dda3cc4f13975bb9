/* redirect.c - following a Server Reference (MQTT 5.0 section 4.11): DISCONNECT or CONNACK with 0x9C sends us to another
 * server for now, with 0x9D for good.
 *
 * The reference is a list of names, of which the first is taken: host, host:port, [IPv6]:port. A URL is taken too when its
 * scheme is ours: nobody can send us from QUIC or TLS to plaintext. The certificate must be for the new name, unless
 * server_name says which. At most redirects_max are followed until a connection has lasted for 60 s, so that two servers
 * cannot play ball with us. When the server for now cannot be reached, the next attempt goes home. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "client/client.h"

#define LASTED_NS (60 * ROAM_S)

static bool read_reference(const roam_client *c, roam_bytes bytes, char host[ROAM_CLIENT_HOST_MAX], uint16_t *port) {
  char text[ROAM_CLIENT_HOST_MAX + 32], word[ROAM_CLIENT_HOST_MAX];
  size_t len = 0;
  while (len < bytes.len && bytes.base[len] != ' ') len++;
  if (len == 0 || len >= sizeof word || memchr(bytes.base, 0, len)) return false;
  memcpy(word, bytes.base, len);
  word[len] = 0;
  roam_transport_kind kind;
  size_t scheme = strcspn(c->o.url, ":");
  if (strstr(word, "://")) snprintf(text, sizeof text, "%s", word);
  else snprintf(text, sizeof text, "%.*s://%s", (int)scheme, c->o.url, word);
  return roam_url_parse(text, &kind, host, ROAM_CLIENT_HOST_MAX, port) == 0 && kind == c->home_kind;
}

void roam_redirect_hear(roam_client *c, int reason, roam_bytes props) {
  struct roam_redirect *r = &c->redirect;
  roam_prop prop;
  if (reason != ROAM_REASON_USE_ANOTHER_SERVER && reason != ROAM_REASON_SERVER_MOVED) return;
  if (!roam_prop_find(props, ROAM_PROP_SERVER_REFERENCE, &prop) || r->count >= c->o.redirects_max) return;
  if (!read_reference(c, prop.bytes, r->host, &r->port)) {
    roam_log_line(&c->o.log, c->now, ROAM_LOG_WARNING, "client %s: a Server Reference that cannot be followed", c->id);
    return;
  }
  r->pending = true;
  r->for_good = reason == ROAM_REASON_SERVER_MOVED;
}

static void go(roam_client *c, const char *host, uint16_t port) {
  memmove(c->host, host, strlen(host) + 1);
  c->port = port;
  roam_client_describe_url(c);
}

static void tell(roam_client *c, int reason) {
  char text[ROAM_CLIENT_TEXT_MAX];
  snprintf(text, sizeof text, "sent to %s: %s", c->url, reason == ROAM_REASON_SERVER_MOVED ? "the server has moved" : "use another server");
  roam_log_line(&c->o.log, c->now, ROAM_LOG_NOTICE, "client %s: %s", c->id, text);
  struct roam_entry *e = roam_client_event(c, ROAM_EV_REDIRECTED);
  if (!e) return;
  e->ev.reason = reason;
  roam_events_keep_text(e, text, "sent to another server");
}

bool roam_redirect_follow(roam_client *c, bool was_connected) {
  struct roam_redirect *r = &c->redirect;
  if (was_connected && c->now - c->link.connected_at >= LASTED_NS) r->count = 0;
  if (!r->pending) {
    if (r->away && !was_connected) {
      r->away = false;
      go(c, r->home, r->home_port);
    }
    return false;
  }
  r->pending = false;
  r->count++;
  c->past.redirects++;
  if (!r->away) {
    memcpy(r->home, c->host, sizeof r->home);
    r->home_port = c->port;
  }
  r->away = !r->for_good;
  go(c, r->host, r->port);
  tell(c, r->for_good ? ROAM_REASON_SERVER_MOVED : ROAM_REASON_USE_ANOTHER_SERVER);
  return true;
}

/* redirect.c - following a Server Reference (MQTT 5.0 section 4.11): DISCONNECT or CONNACK with 0x9C sends us to another
 * server for now, with 0x9D for good.
 *
 * The reference is a list of names, tried in their order, each when the one before could not be reached: host, host:port,
 * [IPv6]:port. A URL is taken too when its scheme is ours: nobody can send us from QUIC or TLS to plaintext. Names that are
 * none are passed over. The certificate must be for the new name, unless server_name says which. At most redirects_max
 * references are followed until a connection has lasted for 60 s, so that two servers cannot play ball with us. When none
 * of the servers for now can be reached, the next attempt goes home; servers for good are tried again from the first. */
#include <stdio.h>
#include <string.h>

#include "client/client.h"

#define LASTED_NS (60 * ROAM_S)

static bool read_name(const roam_client *c, const char *word, size_t len, char host[ROAM_CLIENT_HOST_MAX], uint16_t *port) {
  char text[2 * ROAM_CLIENT_HOST_MAX], name[ROAM_CLIENT_HOST_MAX];
  roam_transport_kind kind;
  size_t scheme = strcspn(c->o.url, ":");
  if (len >= sizeof name) return false;
  memcpy(name, word, len);
  name[len] = 0;
  if (strstr(name, "://")) snprintf(text, sizeof text, "%s", name);
  else snprintf(text, sizeof text, "%.*s://%s", (int)scheme, c->o.url, name);
  if (roam_url_parse(text, &kind, host, ROAM_CLIENT_HOST_MAX, port) != 0) return false;
  return kind == c->home_kind && host[0] != '/'; /* no server sends us to a socket of this machine's own */
}

/* The next name of the list that is one. */
static bool next_name(const roam_client *c, struct roam_redirect *r) {
  while (r->list[r->at]) {
    size_t len = strcspn(r->list + r->at, " ");
    const char *word = r->list + r->at;
    r->at += len + (word[len] == ' ');
    if (len > 0 && read_name(c, word, len, r->host, &r->port)) return true;
  }
  return false;
}

void roam_redirect_hear(roam_client *c, int reason, roam_bytes props) {
  struct roam_redirect *r = &c->redirect, heard = *r;
  roam_prop prop;
  if (reason != ROAM_REASON_USE_ANOTHER_SERVER && reason != ROAM_REASON_SERVER_MOVED) return;
  if (!roam_prop_find(props, ROAM_PROP_SERVER_REFERENCE, &prop) || r->count >= c->o.redirects_max) return;
  size_t len = prop.bytes.len;
  if (len >= sizeof heard.list) /* what is cut is the last name, and those behind it */
    for (len = sizeof heard.list - 1; len > 0 && prop.bytes.base[len] != ' ';) len--;
  memcpy(heard.list, prop.bytes.base, len);
  heard.list[len] = 0;
  heard.at = 0;
  if (strlen(heard.list) != len || !next_name(c, &heard)) {
    roam_trace(&c->o.log, c->now, REFERENCE_UNUSABLE, .client = c->id);
    return;
  }
  *r = heard;
  r->at = 0;
  r->pending = true;
  r->for_good = reason == ROAM_REASON_SERVER_MOVED;
}

static void go(roam_client *c, const char *host, uint16_t port) {
  memmove(c->host, host, strlen(host) + 1);
  c->port = port;
  roam_client_describe_url(c);
}

static void tell(roam_client *c, const char *why) {
  char text[ROAM_CLIENT_TEXT_MAX];
  snprintf(text, sizeof text, "sent to %s: %s", c->url, why);
  roam_trace(&c->o.log, c->now, REDIRECTED, .client = c->id, .url = c->url, .why = why);
  struct roam_entry *e = roam_client_event(c, ROAM_EV_REDIRECTED);
  if (!e) return;
  e->ev.reason = c->redirect.for_good ? ROAM_REASON_SERVER_MOVED : ROAM_REASON_USE_ANOTHER_SERVER;
  roam_events_keep_text(e, text, "sent to another server");
}

/* The server that we were sent to cannot be reached. True: the next one of the list is tried at once. */
static bool try_next(roam_client *c) {
  struct roam_redirect *r = &c->redirect;
  if (next_name(c, r)) {
    go(c, r->host, r->port);
    tell(c, "the one before cannot be reached");
    return true;
  }
  r->at = 0;
  if (r->away) {
    r->away = false;
    r->list[0] = 0;
    go(c, r->home, r->home_port);
  } else if (next_name(c, r)) {
    go(c, r->host, r->port);
  }
  return false;
}

bool roam_redirect_follow(roam_client *c, bool was_connected) {
  struct roam_redirect *r = &c->redirect;
  if (was_connected && c->now - c->link.connected_at >= LASTED_NS) r->count = 0;
  if (!r->pending) return !was_connected && try_next(c);
  r->pending = false;
  r->count++;
  c->past.redirects++;
  if (!r->away) {
    memcpy(r->home, c->host, sizeof r->home);
    r->home_port = c->port;
  }
  r->away = !r->for_good;
  if (!next_name(c, r)) return false; /* it had one when it was heard */
  go(c, r->host, r->port);
  tell(c, r->for_good ? "the server has moved" : "use another server");
  return true;
}

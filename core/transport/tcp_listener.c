/* tcp_listener.c - where an endpoint over byte connections listens: addresses, Unix sockets, sockets the process was given.
 * One that has failed or is no longer wanted is freed by a drain. Refuses to accept: that is a connection's beginning. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/error.h"
#include "transport/tcp.h"

struct roam_tcp_listener *roam_tcp_listener_find(const struct roam_tcp *t, uint32_t handle) {
  enum roam_tcp_kind *kind = roam_map64_get(&t->handles, handle);
  return kind && *kind == ROAM_TCP_IS_LISTENER ? ROAM_CONTAINER(kind, struct roam_tcp_listener, kind) : NULL;
}

roam_rc roam_tcp_listener_add(struct roam_tcp *t, const roam_addr *local, const char *name, uint32_t *listener) {
  if (roam_tcp_is_secure(t) && !t->tls.trust.credentials->has_certificate) return ROAM_E_CERTIFICATE;
  if (strlen(name) >= ROAM_TCP_NAME_BYTES_MAX) return ROAM_E_ARGUMENT;
  size_t count = 0;
  ROAM_LIST_EACH(&t->listeners, node) count++;
  if (count >= ROAM_TCP_LISTENERS_MAX) return ROAM_E_LIMIT;
  struct roam_tcp_listener *l = calloc(1, sizeof *l);
  if (!l) return ROAM_E_MEMORY;
  l->kind = ROAM_TCP_IS_LISTENER;
  if (local) l->local = *local;
  snprintf(l->name, sizeof l->name, "%s", name);
  if (!roam_tcp_handle_take(t, &l->kind, &l->handle)) {
    free(l);
    return ROAM_E_MEMORY;
  }
  roam_list_push_back(&t->listeners, &l->node);
  *listener = l->handle;
  return 0;
}

void roam_tcp_listener_bound(struct roam_tcp_listener *l, const roam_wire *u) {
  if (l->event != ROAM_TE_NONE || l->closing || l->failed) return;
  l->local = u->local;
  l->event = ROAM_TE_LISTENING;
}

void roam_tcp_listener_failed(struct roam_tcp *t, struct roam_tcp_listener *l, int error) {
  l->rc = roam_error_from_errno(error, "listening on", &l->local, l->text);
  l->event = ROAM_TE_LISTEN_FAILED;
  l->failed = true;
  roam_map64_remove(&t->handles, l->handle);
}

void roam_tcp_listeners_drain(struct roam_tcp *t, roam_wire out[], size_t n, size_t *used) {
  ROAM_LIST_EACH(&t->listeners, node) {
    if (*used == n) return;
    struct roam_tcp_listener *l = ROAM_CONTAINER(node, struct roam_tcp_listener, node);
    if (!l->asked && !l->closing) {
      out[(*used)++] = (roam_wire){
          .kind = ROAM_WIRE_LISTEN, .handle = l->handle, .local = l->local, .name = l->name[0] ? l->name : NULL};
      if (t->o.workers > 1 && !l->name[0]) {
        out[*used - 1].parent = t->o.workers;
        out[*used - 1].how = t->o.worker == 0 ? ROAM_BIND_FIRST : ROAM_BIND_NEXT;
      }
      l->asked = true;
    }
    if (!l->closing) continue;
    if (l->asked && !l->failed) out[(*used)++] = (roam_wire){.kind = ROAM_WIRE_CLOSE, .handle = l->handle};
    roam_map64_remove(&t->handles, l->handle);
    roam_list_remove(&l->node);
    free(l);
  }
}

size_t roam_tcp_listeners_poll(struct roam_tcp *t, roam_te ev[], size_t n) {
  size_t used = 0;
  ROAM_LIST_EACH(&t->listeners, node) {
    struct roam_tcp_listener *l = ROAM_CONTAINER(node, struct roam_tcp_listener, node);
    if (l->event == ROAM_TE_NONE || used == n) continue;
    ev[used++] = (roam_te){
        .kind = l->event, .listener = l->handle, .local = l->local, .rc = l->rc, .text = l->failed ? l->text : NULL};
    l->event = ROAM_TE_NONE;
    if (l->failed) l->closing = true; /* freed by the next drain: the text lives until then */
  }
  return used;
}

void roam_tcp_listeners_free(struct roam_tcp *t) {
  ROAM_LIST_EACH(&t->listeners, node) free(ROAM_CONTAINER(node, struct roam_tcp_listener, node));
}

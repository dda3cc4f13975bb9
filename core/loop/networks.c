/* networks.c - tells machines which addresses the machine has (ADDR): all that are up when a machine comes in, and every
 * change. Refuses to judge them, and to speak of loopback. A changed default route is an ADDR without an address.
 *
 * An address is up when its interface is, has a carrier, and, with IPv6, is no longer tentative. After news from the kernel
 * the whole list is read anew and compared with the last one, so that nothing can be missed or counted twice. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/trace.h"
#include "loop/driver.h"
#include "net/ifaddr.h"
#include "net/netwatch.h"

enum {
  ADDRESSES_MAX = 64
};

struct roam_networks_seen {
  int fd;
  size_t count;
  struct roam_ifaddr list[ADDRESSES_MAX];
};

static bool is_told(const struct roam_ifaddr *a) { return a->up && !a->loopback; }

static size_t read_addresses(struct roam_ifaddr list[ADDRESSES_MAX]) {
  int n = roam_ifaddr_list(list, ADDRESSES_MAX);
  size_t have = n < 0 ? 0 : n > ADDRESSES_MAX ? ADDRESSES_MAX : (size_t)n, kept = 0;
  for (size_t i = 0; i < have; i++)
    if (is_told(&list[i])) list[kept++] = list[i];
  return kept;
}

static bool contains(const struct roam_ifaddr list[], size_t n, const struct roam_ifaddr *what) {
  for (size_t i = 0; i < n; i++)
    if (roam_addr_same_ip(&list[i].addr, &what->addr) && strcmp(list[i].name, what->name) == 0) return true;
  return false;
}

static void tell(struct roam_edge *edge, const struct roam_ifaddr *a, bool up) {
  roam_wire *unit = roam_inbox_add(edge->loop, edge, ROAM_WIRE_ADDR, 0);
  unit->up = up;
  if (!a) return;
  unit->local = a->addr;
  unit->name = a->name;
}

static void tell_all(struct roam_loop *loop, const struct roam_ifaddr *a, bool up) {
  ROAM_LIST_EACH(&loop->edges, node) {
    struct roam_edge *edge = ROAM_CONTAINER(node, struct roam_edge, node);
    if (edge->networks_told) tell(edge, a, up);
  }
}

/* What is gone first: then a machine that must move sees the news of what came as something to move to. */
static void compare(struct roam_loop *loop, bool routes) {
  struct roam_networks_seen *seen = loop->networks;
  struct roam_networks_seen *fresh = malloc(sizeof *fresh);
  if (!fresh) return;
  fresh->count = read_addresses(fresh->list);
  for (size_t i = 0; i < seen->count; i++)
    if (!contains(fresh->list, fresh->count, &seen->list[i])) tell_all(loop, &seen->list[i], false);
  for (size_t i = 0; i < fresh->count; i++)
    if (!contains(seen->list, seen->count, &fresh->list[i])) tell_all(loop, &fresh->list[i], true);
  if (routes) tell_all(loop, NULL, true);
  roam_inbox_flush(loop);
  fresh->fd = seen->fd;
  *seen = *fresh;
  free(fresh);
}

static roam_time on_news(void *context, roam_time now) {
  struct roam_loop *loop = context;
  (void)now;
  int news = roam_netwatch_read(loop->networks->fd);
  if (news != 0) compare(loop, (news & ROAM_NETWATCH_ROUTES) != 0);
  return ROAM_NEVER;
}

void roam_networks_open(struct roam_loop *loop) {
  struct roam_networks_seen *seen = calloc(1, sizeof *seen);
  if (!seen) return;
  seen->fd = roam_netwatch_open();
  if (seen->fd < 0) {
    roam_trace(&loop->options.log, loop->now, NETLINK_FAILED, .error = (uint64_t)-seen->fd);
    free(seen);
    return;
  }
  seen->count = read_addresses(seen->list);
  loop->networks = seen;
  struct roam_port *port = roam_port_new(loop, NULL, ROAM_PORT_FOREIGN, seen->fd, 0);
  if (!port) {
    roam_networks_close(loop);
    return;
  }
  port->u.foreign = (struct roam_foreign){on_news, loop};
  roam_port_watch(loop, port, EPOLLIN);
}

void roam_networks_close(struct roam_loop *loop) {
  if (!loop->networks) return;
  (void)roam_loop_remove_fd(loop, loop->networks->fd);
  close(loop->networks->fd);
  free(loop->networks);
  loop->networks = NULL;
}

void roam_networks_greet(struct roam_edge *edge) {
  const struct roam_networks_seen *seen = edge->loop->networks;
  if (!seen || edge->networks_told) return;
  edge->networks_told = true;
  for (size_t i = 0; i < seen->count; i++) tell(edge, &seen->list[i], true);
  roam_inbox_flush(edge->loop);
}

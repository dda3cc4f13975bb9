/* subs.c - subscriptions as wanted by the application (subs.h). It sends nothing itself: the session does, when the pump
 * asks. */
#include "client/subs.h"

#include "mqtt/packet.h"

#include <stdlib.h>
#include <string.h>

#define ROAM_DELIVERY_PROPERTY "roamqtt-delivery" /* of SUBSCRIBE; the broker's requests.c knows them too */
#define ROAM_DELIVERY_DATAGRAM "datagram"
#define RENEW_BYTES 4096u /* filters asked for again go out in packets of about this size */

struct roam_sub {
  struct roam_list node;
  roam_filter filter; /* points to bytes */
  struct roam_subs_how how;
  bool due; /* to be asked for again */
  uint8_t bytes[];
};

/* Its filters have been allocated when it is made, so that keeping what was granted cannot fail. */
struct roam_subs_command {
  struct roam_list node;
  struct roam_list filters; /* of struct roam_sub */
  int type;
  uint32_t count;
  uint64_t token;
  struct roam_subs_how how;
  bool sent;
  uint32_t identifier; /* of all of them; 0 = none */
  size_t len;
  uint8_t list[]; /* the filters, encoded */
};

void roam_subs_init(struct roam_subs *s, uint32_t max, uint8_t version) {
  *s = (struct roam_subs){.max = max, .version = version};
  roam_list_init(&s->kept);
  roam_list_init(&s->pending);
  s->renew = &s->kept;
}

static void forget(struct roam_subs *s, struct roam_sub *sub) {
  if (s->renew == &sub->node) s->renew = sub->node.next;
  roam_list_remove(&sub->node);
  s->kept_count--;
  free(sub);
}

static void free_command(struct roam_subs_command *command) {
  ROAM_LIST_EACH(&command->filters, node) free(ROAM_CONTAINER(node, struct roam_sub, node));
  free(command);
}

static void drop_command(struct roam_subs *s, struct roam_subs_command *command) {
  roam_list_remove(&command->node);
  s->pending_count--;
  if (command->type == ROAM_SUBSCRIBE) s->pending_filters -= command->count;
  free_command(command);
}

void roam_subs_reset(struct roam_subs *s) {
  ROAM_LIST_EACH(&s->kept, node) forget(s, ROAM_CONTAINER(node, struct roam_sub, node));
  ROAM_LIST_EACH(&s->pending, node) drop_command(s, ROAM_CONTAINER(node, struct roam_subs_command, node));
}

static bool is_of(const struct roam_sub *sub, roam_bytes filter) {
  return sub->filter.filter.len == filter.len && memcmp(sub->filter.filter.base, filter.base, filter.len) == 0;
}

/* The same filter on two lanes is two subscriptions. */
static struct roam_sub *find_kept(const struct roam_subs *s, roam_bytes filter, uint32_t lane) {
  ROAM_LIST_EACH(&s->kept, node) {
    struct roam_sub *sub = ROAM_CONTAINER(node, struct roam_sub, node);
    if (sub->how.lane == lane && is_of(sub, filter)) return sub;
  }
  return NULL;
}

uint32_t roam_subs_lane_of(const struct roam_subs *s, roam_bytes filter) {
  uint32_t lane = 0;
  ROAM_LIST_EACH(&s->kept, node) {
    const struct roam_sub *sub = ROAM_CONTAINER(node, struct roam_sub, node);
    if (is_of(sub, filter)) lane = sub->how.lane;
  }
  ROAM_LIST_EACH(&s->pending, node) {
    const struct roam_subs_command *command = ROAM_CONTAINER(node, struct roam_subs_command, node);
    if (command->type != ROAM_SUBSCRIBE) continue;
    ROAM_LIST_EACH(&command->filters, one)
    if (is_of(ROAM_CONTAINER(one, struct roam_sub, node), filter)) lane = command->how.lane;
  }
  return lane;
}

void roam_subs_lane_lost(struct roam_subs *s, uint32_t lane, bool merged) {
  ROAM_LIST_EACH(&s->kept, node) {
    struct roam_sub *sub = ROAM_CONTAINER(node, struct roam_sub, node);
    if (sub->how.lane != lane) continue;
    if (merged) sub->how.lane = 0;
    sub->due = true;
    s->renew = s->kept.next;
  }
  ROAM_LIST_EACH(&s->pending, node) {
    struct roam_subs_command *command = ROAM_CONTAINER(node, struct roam_subs_command, node);
    if (command->how.lane != lane || !merged) continue;
    command->how.lane = 0;
    command->sent = false;
    s->unsent = true;
  }
}

static bool filter_ok(const roam_filter *f, int type) {
  if (!roam_topic_filter_valid(f->filter)) return false;
  return type == ROAM_UNSUBSCRIBE || (f->qos <= 2 && f->retain_handling <= 2 && f->identifier <= ROAM_REMAINING_MAX);
}

/* 3.1.1 has no subscription options: their bits must be zero there. */
static roam_filter as_version(const roam_filter *f, uint8_t version) {
  roam_filter plain = {.filter = f->filter, .qos = f->qos};
  return version >= ROAM_MQTT_5 ? *f : plain;
}

static struct roam_sub *make_sub(const roam_filter *f) {
  struct roam_sub *sub = malloc(sizeof *sub + f->filter.len);
  if (!sub) return NULL;
  *sub = (struct roam_sub){.filter = *f};
  memcpy(sub->bytes, f->filter.base, f->filter.len);
  sub->filter.filter.base = sub->bytes;
  roam_list_init(&sub->node);
  return sub;
}

/* NULL: no memory. */
static struct roam_subs_command *make_command(const struct roam_subs *s, int type, const roam_filter *filters, size_t n) {
  size_t cap = 0;
  for (size_t i = 0; i < n; i++) cap += filters[i].filter.len + 3;
  struct roam_subs_command *command = calloc(1, sizeof *command + cap);
  if (!command) return NULL;
  roam_list_init(&command->node);
  roam_list_init(&command->filters);
  command->type = type;
  command->count = (uint32_t)n;
  command->identifier = s->version >= ROAM_MQTT_5 && type == ROAM_SUBSCRIBE ? filters[0].identifier : 0;
  for (size_t i = 0; i < n; i++) {
    roam_filter f = as_version(&filters[i], s->version);
    struct roam_sub *sub = make_sub(&f);
    if (!sub) {
      free_command(command);
      return NULL;
    }
    roam_list_push_back(&command->filters, &sub->node);
    (void)roam_filter_put(command->list, cap, &command->len, type, &f);
  }
  return command;
}

roam_rc roam_subs_want(struct roam_subs *s, int type, const roam_filter *filters, size_t n, struct roam_subs_how how,
                       uint64_t token) {
  if (n == 0 || !filters) return ROAM_E_ARGUMENT;
  for (size_t i = 0; i < n; i++)
    if (!filter_ok(&filters[i], type) || filters[i].identifier != filters[0].identifier) return ROAM_E_ARGUMENT;
  if (n > s->max || (type == ROAM_SUBSCRIBE && n > s->max - s->kept_count - s->pending_filters)) return ROAM_E_LIMIT;
  if (s->pending_count == ROAM_SUBS_PENDING_MAX) return ROAM_E_BLOCKED;
  struct roam_subs_command *command = make_command(s, type, filters, n);
  if (!command) return ROAM_E_MEMORY;
  command->token = token;
  command->how = how;
  roam_list_push_back(&s->pending, &command->node);
  s->pending_count++;
  s->unsent = true;
  if (type == ROAM_SUBSCRIBE) s->pending_filters += (uint32_t)n;
  return 0;
}

void roam_subs_connected(struct roam_subs *s, bool session_present, bool flows) {
  s->renew = &s->kept;
  ROAM_LIST_EACH(&s->kept, node) {
    struct roam_sub *sub = ROAM_CONTAINER(node, struct roam_sub, node);
    sub->due = !session_present || (sub->how.lane != 0 && !flows);
    if (sub->due) s->renew = s->kept.next;
  }
}

/* Section 3.8.2.1.2: one identifier for the whole packet. */
static roam_bytes make_props(struct roam_subs_how how, uint32_t identifier, uint8_t space[64]) {
  static const char name[] = ROAM_DELIVERY_PROPERTY, value[] = ROAM_DELIVERY_DATAGRAM;
  roam_props props = {.base = space, .cap = 64};
  if (identifier > 0) (void)roam_props_put_number(&props, ROAM_PROP_SUBSCRIPTION_IDENTIFIER, identifier);
  if (how.datagram)
    (void)roam_props_put_user(&props, (roam_bytes){(const uint8_t *)name, sizeof name - 1},
                              (roam_bytes){(const uint8_t *)value, sizeof value - 1});
  return (roam_bytes){props.base, props.len};
}

static bool goes_along(const struct roam_sub *sub, const struct roam_sub *first) {
  return sub->due && sub->how.lane == first->how.lane && sub->how.datagram == first->how.datagram &&
         sub->filter.identifier == first->filter.identifier;
}

/* Asks again for as many kept filters as fit one packet, at least one. ROAM_E_BLOCKED: later. */
static roam_rc send_renewal(struct roam_subs *s, roam_session *session, roam_time now) {
  uint8_t space[RENEW_BYTES + 65535 + 8];
  uint32_t peer_max = roam_session_get_info(session).peer_maximum_packet_size;
  size_t len = 0, room = peer_max > 16 && peer_max - 16 < RENEW_BYTES ? peer_max - 16 : RENEW_BYTES;
  while (s->renew != &s->kept && !ROAM_CONTAINER(s->renew, struct roam_sub, node)->due) s->renew = s->renew->next;
  struct roam_list *node = s->renew;
  if (node == &s->kept) return 0;
  struct roam_sub *first = ROAM_CONTAINER(node, struct roam_sub, node);
  for (; node != &s->kept; node = node->next) {
    size_t before = len;
    const struct roam_sub *sub = ROAM_CONTAINER(node, struct roam_sub, node);
    if (!goes_along(sub, first)) break;
    (void)roam_filter_put(space, sizeof space, &len, ROAM_SUBSCRIBE, &sub->filter);
    if (before == 0 || len <= room) continue;
    len = before;
    break;
  }
  uint8_t props[64];
  roam_rc rc = roam_session_subscribe_on(session, now, first->how.lane, (roam_bytes){space, len},
                                         make_props(first->how, first->filter.identifier, props), 0);
  if (rc != 0 && rc != ROAM_E_TOO_LARGE) return rc;
  for (; s->renew != node; s->renew = s->renew->next) ROAM_CONTAINER(s->renew, struct roam_sub, node)->due = false;
  return rc;
}

static roam_rc send_command(struct roam_subs_command *command, roam_session *session, roam_time now) {
  roam_bytes list = {command->list, command->len};
  uint8_t props[64];
  if (command->type == ROAM_SUBSCRIBE)
    return roam_session_subscribe_on(session, now, command->how.lane, list,
                                     make_props(command->how, command->identifier, props), command->token);
  return roam_session_unsubscribe_on(session, now, command->how.lane, list, (roam_bytes){0}, command->token);
}

/* For now: the next pump may succeed. Everything else is for good. */
static bool passing(roam_rc rc) { return rc == ROAM_E_BLOCKED || rc == ROAM_E_MEMORY || rc == ROAM_E_STATE; }

bool roam_subs_send(struct roam_subs *s, roam_session *session, roam_time now, struct roam_subs_failure *failure) {
  bool moved = false;
  *failure = (struct roam_subs_failure){0};
  for (; s->renew != &s->kept; moved = true)
    if (passing(send_renewal(s, session, now))) return moved;
  if (!s->unsent) return moved;
  ROAM_LIST_EACH(&s->pending, node) {
    struct roam_subs_command *command = ROAM_CONTAINER(node, struct roam_subs_command, node);
    if (command->sent) continue;
    roam_rc rc = send_command(command, session, now);
    if (passing(rc)) return moved;
    command->sent = moved = true;
    if (rc == 0) continue;
    *failure = (struct roam_subs_failure){.type = command->type, .token = command->token, .rc = rc};
    drop_command(s, command);
    return true;
  }
  s->unsent = false;
  return moved;
}

bool roam_subs_send_early(struct roam_subs *s, roam_session *session, roam_time now) {
  bool moved = false;
  if (!s->unsent) return false;
  ROAM_LIST_EACH(&s->pending, node) {
    struct roam_subs_command *command = ROAM_CONTAINER(node, struct roam_subs_command, node);
    if (command->sent) continue;
    if (command->type != ROAM_SUBSCRIBE || send_command(command, session, now) != 0) return moved;
    command->sent = moved = true;
  }
  s->unsent = false;
  return moved;
}

/* What was granted is kept, in the place of what it repeats; what was refused is not. */
static void settle_subscribe(struct roam_subs *s, struct roam_subs_command *command, roam_bytes codes) {
  size_t i = 0;
  ROAM_LIST_EACH(&command->filters, node) {
    struct roam_sub *sub = ROAM_CONTAINER(node, struct roam_sub, node);
    bool granted = i < codes.len && codes.base[i] < 0x80;
    i++;
    if (!granted) continue;
    sub->how = command->how;
    struct roam_sub *old = find_kept(s, sub->filter.filter, sub->how.lane);
    if (old) forget(s, old);
    roam_list_remove(node);
    roam_list_push_back(&s->kept, node);
    s->kept_count++;
  }
}

/* 3.1.1 has no codes: the filters are gone. */
static void settle_unsubscribe(struct roam_subs *s, struct roam_subs_command *command, roam_bytes codes) {
  size_t i = 0;
  ROAM_LIST_EACH(&command->filters, node) {
    struct roam_sub *old = find_kept(s, ROAM_CONTAINER(node, struct roam_sub, node)->filter.filter, command->how.lane);
    bool refused = i < codes.len && codes.base[i] >= 0x80;
    i++;
    if (old && !refused) forget(s, old);
  }
}

bool roam_subs_answered(struct roam_subs *s, uint64_t token, roam_bytes codes) {
  ROAM_LIST_EACH(&s->pending, node) {
    struct roam_subs_command *command = ROAM_CONTAINER(node, struct roam_subs_command, node);
    if (command->token != token) continue;
    if (command->type == ROAM_SUBSCRIBE) settle_subscribe(s, command, codes);
    else settle_unsubscribe(s, command, codes);
    drop_command(s, command);
    return true;
  }
  return false;
}

/* mail_claim.c - which worker has a client id. Each id has a home, found by hash, that knows. A worker that gets a CONNECT
 * for an id it does not hold asks the home; the home answers that it is free, or has the worker that holds it send it over,
 * one claim after the other. Refuses to look into sessions (mail_move.c does) and to judge who may have one (access.c). */
#include <stdlib.h>
#include <string.h>

#include "broker/broker.h"

/* Somebody who must wait at the home until an earlier claim is served. */
struct wish {
  struct roam_list node;
  uint32_t from;
  roam_blob *user;
};

/* Invariant: wishes are empty unless it is moving. */
struct roam_home {
  struct roam_list node;
  roam_blob *id;
  uint32_t worker; /* who has it */
  bool moving;     /* to `next` */
  bool next_gone;  /* who has already lost it again */
  uint32_t next;
  struct roam_list wishes;
};

/* A claim of this worker's. */
struct roam_claim {
  struct roam_list node;
  roam_blob *id;
  struct roam_list peers; /* roam_peer.claiming, in the order of their CONNECTs */
  bool waiting;           /* the home has said that it comes: what is asked of us from now on is that */
  bool owed;              /* to `to`, as soon as it is here */
  uint32_t to;
  roam_blob *user;
};

static roam_bytes view(roam_blob *blob) {
  return blob ? (roam_bytes){roam_blob_data(blob), roam_blob_len(blob)} : (roam_bytes){0};
}

static bool same(roam_bytes a, roam_bytes b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.base, b.base, a.len) == 0);
}

/* Also to ourselves. Takes the counts over. */
static void send_letter(roam_broker *b, uint32_t to, struct roam_letter letter) {
  if (b->mail->closing || to != b->mail->self) {
    roam_mail_post(b, to, &letter);
    return;
  }
  roam_mail_take_claim(b, to, &letter);
  roam_letter_drop(&letter);
}

/* ---- the home's side ---- */

static struct roam_home *find_home(const roam_broker *b, roam_bytes id) {
  return roam_map_get(&b->mail->homes, id.base, id.len);
}

static struct roam_home *make_home(roam_broker *b, roam_bytes id, uint32_t worker) {
  struct roam_home *h = calloc(1, sizeof *h);
  if (!h) return NULL;
  h->id = roam_blob_new(id.base, id.len);
  h->worker = worker;
  roam_list_init(&h->wishes);
  if (!h->id || roam_map_put(&b->mail->homes, roam_blob_data(h->id), id.len, h) != 0) {
    roam_blob_unref(h->id);
    free(h);
    return NULL;
  }
  roam_list_push_back(&b->mail->home_list, &h->node);
  return h;
}

static void drop_home(roam_broker *b, struct roam_home *h) {
  for (struct roam_list *node; (node = roam_list_pop_front(&h->wishes)) != NULL;) {
    struct wish *wish = ROAM_CONTAINER(node, struct wish, node);
    roam_blob_unref(wish->user);
    free(wish);
  }
  roam_map_remove(&b->mail->homes, roam_blob_data(h->id), roam_blob_len(h->id));
  roam_list_remove(&h->node);
  roam_blob_unref(h->id);
  free(h);
}

/* To the worker that claims: it is yours; or, comes: it is on its way to you. */
static void answer(roam_broker *b, uint32_t to, roam_blob *id, bool comes, uint8_t reason) {
  send_letter(b, to,
              (struct roam_letter){.kind = ROAM_LETTER_FREE, .text = roam_blob_ref(id), .flag = comes, .reason = reason});
}

static void serve(roam_broker *b, struct roam_home *h, uint32_t from, roam_blob *user) {
  if (h->worker == from) {
    answer(b, from, h->id, false, 0);
    return;
  }
  h->moving = true;
  h->next = from;
  h->next_gone = false;
  roam_blob *id = roam_blob_ref(h->id); /* the home may be gone when the letters have been read here */
  uint32_t holder = h->worker;
  answer(b, from, id, true, 0);
  send_letter(
      b, holder,
      (struct roam_letter){
          .kind = ROAM_LETTER_RELEASE, .text = roam_blob_ref(id), .user = roam_blob_ref(user), .worker = (uint8_t)from});
  roam_blob_unref(id);
}

static void take_claim(roam_broker *b, uint32_t from, const struct roam_letter *letter) {
  struct roam_home *h = find_home(b, view(letter->text));
  if (!h) h = make_home(b, view(letter->text), from);
  if (!h) {
    answer(b, from, letter->text, false, ROAM_REASON_SERVER_UNAVAILABLE);
    return;
  }
  if (!h->moving) {
    serve(b, h, from, letter->user);
    return;
  }
  struct wish *wish = calloc(1, sizeof *wish);
  if (!wish) {
    answer(b, from, letter->text, false, ROAM_REASON_SERVER_UNAVAILABLE);
    return;
  }
  wish->from = from;
  wish->user = roam_blob_ref(letter->user);
  roam_list_push_back(&h->wishes, &wish->node);
}

static void take_handed(roam_broker *b, const struct roam_letter *letter) {
  struct roam_home *h = find_home(b, view(letter->text));
  if (!h || !h->moving) return;
  h->moving = false;
  if (letter->reason == 0) h->worker = h->next;
  struct roam_list *first = roam_list_pop_front(&h->wishes);
  bool orphaned = letter->reason == 0 && h->next_gone;
  if (!first) {
    if (orphaned) drop_home(b, h);
    return;
  }
  struct wish *wish = ROAM_CONTAINER(first, struct wish, node);
  if (orphaned) h->worker = wish->from;
  /* Served ones that stay where it is make room for the next; only a move ends that. */
  roam_blob *id = roam_blob_ref(h->id);
  serve(b, h, wish->from, wish->user);
  roam_blob_unref(wish->user);
  free(wish);
  while ((h = find_home(b, view(id))) != NULL && !h->moving && (first = roam_list_pop_front(&h->wishes)) != NULL) {
    wish = ROAM_CONTAINER(first, struct wish, node);
    serve(b, h, wish->from, wish->user);
    roam_blob_unref(wish->user);
    free(wish);
  }
  roam_blob_unref(id);
}

static void take_gone(roam_broker *b, uint32_t from, const struct roam_letter *letter) {
  struct roam_home *h = find_home(b, view(letter->text));
  if (!h) return;
  if (h->moving) h->next_gone |= h->next == from;
  else if (h->worker == from) drop_home(b, h);
}

/* ---- the holder's side ---- */

/* To who claims it, and to its home. */
static void hand(roam_broker *b, roam_blob *id, uint32_t to, struct roam_move *move, uint8_t reason) {
  send_letter(b, to,
              (struct roam_letter){.kind = ROAM_LETTER_MOVE, .text = roam_blob_ref(id), .move = move, .reason = reason});
  send_letter(b, roam_mail_home(b->mail, roam_blob_data(id), roam_blob_len(id)),
              (struct roam_letter){.kind = ROAM_LETTER_HANDED, .text = roam_blob_ref(id), .reason = reason});
}

static void release(roam_broker *b, roam_blob *id, uint32_t to, roam_blob *user) {
  struct roam_record *r = roam_sessions_find(b, roam_blob_data(id), roam_blob_len(id));
  struct roam_move *move = NULL;
  uint8_t reason = 0;
  if (r && r->session && r->user_known && roam_access_is_configured(b) && !same(view(r->user), view(user)))
    reason = ROAM_REASON_NOT_AUTHORIZED;
  else if (r) reason = roam_mail_can(b, 2) ? roam_move_out(b, r, to, &move) : ROAM_REASON_SERVER_UNAVAILABLE;
  roam_mail_flush(b);
  hand(b, id, to, move, reason);
}

static struct roam_claim *find_claim(const roam_broker *b, roam_bytes id) {
  return roam_map_get(&b->mail->claims, id.base, id.len);
}

static void take_release(roam_broker *b, const struct roam_letter *letter) {
  struct roam_claim *claim = find_claim(b, view(letter->text));
  struct roam_record *r = roam_sessions_find(b, roam_blob_data(letter->text), roam_blob_len(letter->text));
  if (claim && claim->waiting) {
    claim->owed = true;
    claim->to = letter->worker;
    claim->user = roam_blob_ref(letter->user);
  } else if (r && r->move) {
    if (!roam_move_then(r, letter->worker, letter->user))
      hand(b, letter->text, letter->worker, NULL, ROAM_REASON_SERVER_UNAVAILABLE);
  } else {
    release(b, letter->text, letter->worker, letter->user);
  }
}

void roam_mail_release(roam_broker *b, struct roam_record *r, uint32_t to, roam_blob *user) {
  roam_blob *id = roam_blob_ref(r->id);
  release(b, id, to, user);
  roam_blob_unref(id);
}

/* ---- the claimant's side ---- */

static void free_claim(roam_broker *b, struct roam_claim *c) {
  roam_map_remove(&b->mail->claims, roam_blob_data(c->id), roam_blob_len(c->id));
  roam_list_remove(&c->node);
  while (!roam_list_empty(&c->peers)) roam_mail_unclaim(ROAM_CONTAINER(c->peers.next, struct roam_peer, claiming));
  roam_blob_unref(c->id);
  roam_blob_unref(c->user);
  free(c);
}

static struct roam_claim *make_claim(roam_broker *b, roam_bytes id) {
  struct roam_claim *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  roam_list_init(&c->peers);
  c->id = roam_blob_new(id.base, id.len);
  if (!c->id || roam_map_put(&b->mail->claims, roam_blob_data(c->id), id.len, c) != 0) {
    roam_blob_unref(c->id);
    free(c);
    return NULL;
  }
  roam_list_push_back(&b->mail->claim_list, &c->node);
  return c;
}

static void ask(roam_broker *b, struct roam_claim *c, const struct roam_peer *p) {
  c->waiting = false;
  send_letter(
      b, roam_mail_home(b->mail, roam_blob_data(c->id), roam_blob_len(c->id)),
      (struct roam_letter){.kind = ROAM_LETTER_CLAIM, .text = roam_blob_ref(c->id), .user = roam_blob_ref(p->user)});
}

static bool wait_in(struct roam_claim *c, struct roam_peer *p, const roam_packet *connect) {
  size_t size = roam_packet_size(connect), len;
  p->claim_connect = size > 0 ? roam_blob_new(NULL, size) : NULL;
  if (!p->claim_connect) return false;
  if (roam_packet_write(connect, roam_blob_data(p->claim_connect), size, &len) != 0) {
    roam_mail_unclaim(p);
    return false;
  }
  roam_list_push_back(&c->peers, &p->claiming);
  return true;
}

bool roam_mail_claim(roam_broker *b, struct roam_peer *p, const roam_packet *connect) {
  struct roam_mail *m = b->mail;
  roam_bytes id = connect->connect.client_id;
  if (id.len == 0) return false; /* this worker makes one up that is at home here */
  struct roam_record *r = roam_sessions_find(b, id.base, id.len);
  struct roam_claim *c = find_claim(b, id);
  if (!c && r && r->session && r->owned) return false;
  roam_mail_tell_ended(b); /* a home must not learn of the end after the new claim */
  bool first = c == NULL;
  if (first && roam_mail_home(m, id.base, id.len) == m->self && !find_home(b, id) && make_home(b, id, m->self))
    return false;
  if (first && roam_mail_may(b, 2)) c = make_claim(b, id);
  if (!c || !wait_in(c, p, connect)) {
    if (first && c) free_claim(b, c);
    roam_connect_claimed(b, p, connect, ROAM_REASON_SERVER_UNAVAILABLE);
    return true;
  }
  if (first) ask(b, c, p);
  return true;
}

void roam_mail_unclaim(struct roam_peer *p) {
  roam_list_remove(&p->claiming);
  roam_blob_unref(p->claim_connect);
  p->claim_connect = NULL;
}

roam_rc roam_mail_own(roam_broker *b, roam_bytes id) {
  return find_home(b, id) || make_home(b, id, b->mail->self) ? 0 : ROAM_E_MEMORY;
}

void roam_mail_settled(roam_broker *b, roam_bytes id) {
  struct roam_record *r = roam_sessions_find(b, id.base, id.len);
  if (id.len == 0 || (r && r->session)) return;
  if (r) r->owned = false;
  roam_blob *text = roam_blob_new(id.base, id.len);
  if (text)
    send_letter(b, roam_mail_home(b->mail, id.base, id.len), (struct roam_letter){.kind = ROAM_LETTER_GONE, .text = text});
}

static void admit_first(roam_broker *b, struct roam_claim *c, uint8_t reason) {
  struct roam_peer *p = ROAM_CONTAINER(c->peers.next, struct roam_peer, claiming);
  roam_packet connect;
  roam_fault fault;
  size_t used;
  roam_blob *bytes = roam_blob_ref(p->claim_connect);
  roam_mail_unclaim(p);
  if (roam_packet_read(view(bytes), 0, b->o.maximum_packet_size, false, &connect, &used, &fault) == 0 && used > 0)
    roam_connect_claimed(b, p, &connect, reason);
  roam_blob_unref(bytes);
}

/* The id is ours, with whatever came along; or the first who asked may not have it. */
static void resolve(roam_broker *b, struct roam_claim *c, uint8_t reason) {
  if (reason != 0 && !roam_list_empty(&c->peers)) admit_first(b, c, reason);
  if (reason != 0 && !roam_list_empty(&c->peers)) { /* the next one may */
    ask(b, c, ROAM_CONTAINER(c->peers.next, struct roam_peer, claiming));
    return;
  }
  while (!roam_list_empty(&c->peers)) admit_first(b, c, 0);
  roam_blob *id = roam_blob_ref(c->id), *user = roam_blob_ref(c->user);
  bool owed = c->owed;
  uint32_t to = c->to;
  free_claim(b, c);
  struct roam_letter then = {.text = id, .user = user, .worker = (uint8_t)to};
  if (owed) take_release(b, &then);
  else if (reason == 0) roam_mail_settled(b, view(id));
  roam_blob_unref(id);
  roam_blob_unref(user);
}

static void take_free(roam_broker *b, const struct roam_letter *letter) {
  struct roam_claim *c = find_claim(b, view(letter->text));
  if (!c) return;
  if (letter->flag) c->waiting = true;
  else resolve(b, c, letter->reason);
}

static void take_move(roam_broker *b, uint32_t from, struct roam_letter *letter) {
  struct roam_claim *c = find_claim(b, view(letter->text));
  if (letter->move) roam_move_in(b, letter->move, from);
  letter->move = NULL;
  if (c) resolve(b, c, letter->reason);
}

roam_rc roam_mail_note_home(roam_broker *b, roam_bytes id, uint32_t worker) {
  if (roam_mail_home(b->mail, id.base, id.len) != b->mail->self) return 0;
  if (find_home(b, id)) return ROAM_E_STATE;
  return make_home(b, id, worker) ? 0 : ROAM_E_MEMORY;
}

uint32_t roam_mail_whereabouts(const roam_broker *b, roam_bytes id) {
  const struct roam_home *h = find_home(b, id);
  return !h ? UINT32_MAX : h->moving ? h->next : h->worker;
}

/* ---- ends ---- */

void roam_mail_session_over(roam_broker *b, struct roam_record *r) {
  if (b->mail && !b->mail->closing && r->owned && roam_list_empty(&r->ended))
    roam_list_push_back(&b->mail->ended, &r->ended);
}

void roam_mail_record_gone(roam_broker *b, struct roam_record *r) {
  roam_list_remove(&r->ended);
  if (!b->mail || b->mail->closing || !r->owned) return;
  r->owned = false;
  send_letter(b, roam_mail_home(b->mail, roam_blob_data(r->id), roam_blob_len(r->id)),
              (struct roam_letter){.kind = ROAM_LETTER_GONE, .text = roam_blob_ref(r->id)});
}

static void free_late(struct roam_late *l) {
  roam_list_remove(&l->node);
  roam_blob_unref(l->id);
  roam_blob_unref(l->user);
  free(l);
}

struct roam_late *roam_mail_late_new(roam_blob *id, uint32_t to, roam_blob *user) {
  struct roam_late *l = calloc(1, sizeof *l);
  if (!l) return NULL;
  *l = (struct roam_late){.id = roam_blob_ref(id), .user = roam_blob_ref(user), .to = to};
  roam_list_init(&l->node);
  return l;
}

void roam_mail_late_free(struct roam_late *l) {
  if (l) free_late(l);
}

void roam_mail_release_later(roam_broker *b, struct roam_late *l) { roam_list_push_back(&b->mail->late, &l->node); }

static void release_late(roam_broker *b) {
  while (!roam_list_empty(&b->mail->late)) {
    struct roam_late *l = ROAM_CONTAINER(b->mail->late.next, struct roam_late, node);
    release(b, l->id, l->to, l->user);
    free_late(l);
  }
}

bool roam_mail_tell_ended(roam_broker *b) {
  if (!b->mail || (roam_list_empty(&b->mail->ended) && roam_list_empty(&b->mail->late))) return false;
  release_late(b);
  for (struct roam_list *node; (node = roam_list_pop_front(&b->mail->ended)) != NULL;) {
    struct roam_record *r = ROAM_CONTAINER(node, struct roam_record, ended);
    if (!r->session) roam_mail_record_gone(b, r);
  }
  return true;
}

void roam_mail_claims_free(roam_broker *b) {
  struct roam_mail *m = b->mail;
  while (!roam_list_empty(&m->late)) free_late(ROAM_CONTAINER(m->late.next, struct roam_late, node));
  while (!roam_list_empty(&m->claim_list)) free_claim(b, ROAM_CONTAINER(m->claim_list.next, struct roam_claim, node));
  while (!roam_list_empty(&m->home_list)) drop_home(b, ROAM_CONTAINER(m->home_list.next, struct roam_home, node));
  roam_map_reset(&m->claims);
  roam_map_reset(&m->homes);
}

void roam_mail_take_claim(roam_broker *b, uint32_t from, struct roam_letter *letter) {
  if (!letter->text || letter->worker >= b->mail->n) return;
  switch (letter->kind) {
    case ROAM_LETTER_CLAIM: take_claim(b, from, letter); break;
    case ROAM_LETTER_HANDED: take_handed(b, letter); break;
    case ROAM_LETTER_GONE: take_gone(b, from, letter); break;
    case ROAM_LETTER_RELEASE: take_release(b, letter); break;
    case ROAM_LETTER_FREE: take_free(b, letter); break;
    case ROAM_LETTER_MOVE: take_move(b, from, letter); break;
    default: break;
  }
}

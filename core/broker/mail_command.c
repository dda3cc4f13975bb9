/* mail_command.c - the owner's commands for a client that is at another worker: by the way of the id's home, which knows
 * where it is. Nobody waits for what comes of them; one that finds its client gone has no effect. */
#include <stdlib.h>
#include <string.h>

#include "broker/access.h"
#include "broker/broker.h"

/* An admission as bytes: these, then data, user name and text without their ends. */
struct admitted {
  uint32_t data, user_name, text; /* lengths; UINT32_MAX: not given */
};

static roam_bytes view(roam_blob *blob) {
  return blob ? (roam_bytes){roam_blob_data(blob), roam_blob_len(blob)} : (roam_bytes){0};
}

/* ---- by client id ---- */

static void obey(roam_broker *b, const struct roam_letter *l) {
  struct roam_record *r = roam_sessions_find(b, roam_blob_data(l->text), roam_blob_len(l->text));
  if (!r || !r->session) return;
  switch ((enum roam_command)l->group) {
    case ROAM_COMMAND_KICK:
      if (r->peer) roam_peer_say(b, r->peer, l->reason, ROAM_KICKED);
      break;
    case ROAM_COMMAND_ASSIGN: roam_push_assign(b, r, view(l->user), l->qos); break;
    case ROAM_COMMAND_WITHDRAW: roam_push_withdraw(b, r, view(l->user)); break;
  }
}

/* At its home. Takes no counts. */
static roam_rc pass_on(roam_broker *b, const struct roam_letter *l) {
  uint32_t at = roam_mail_whereabouts(b, view(l->text));
  if (at == UINT32_MAX) return ROAM_E_NOT_FOUND;
  if (at == b->mail->self) {
    obey(b, l);
    return 0;
  }
  struct roam_letter on = *l;
  on.flag = true;
  roam_blob_ref(on.text);
  roam_blob_ref(on.user);
  return roam_mail_post(b, at, &on);
}

roam_rc roam_mail_command(roam_broker *b, enum roam_command command, const char *client_id, roam_bytes filter,
                          uint8_t how) {
  uint32_t home = roam_mail_home(b->mail, client_id, strlen(client_id));
  struct roam_letter l = {.kind = ROAM_LETTER_COMMAND, .group = command, .qos = how, .reason = how};
  l.text = roam_blob_new(client_id, strlen(client_id));
  if (filter.len > 0) l.user = roam_blob_new(filter.base, filter.len);
  if (!l.text || (filter.len > 0 && !l.user) || !roam_mail_may(b, 1)) {
    roam_letter_drop(&l);
    return ROAM_E_MEMORY;
  }
  if (home != b->mail->self) return roam_mail_post(b, home, &l);
  roam_rc rc = pass_on(b, &l);
  roam_letter_drop(&l);
  return rc;
}

/* ---- by number ---- */

static uint8_t *put(uint8_t *at, const void *bytes, uint32_t len) {
  if (len == UINT32_MAX) return at;
  if (len > 0) memcpy(at, bytes, len);
  return at + len;
}

roam_rc roam_mail_admit(roam_broker *b, uint64_t peer, const roam_admission *a) {
  uint32_t at = (uint32_t)(peer >> ROAM_PEER_SHIFT);
  const char *name = a->user_name, *text = a->text;
  if (at >= b->mail->n || at == b->mail->self) return ROAM_E_NOT_FOUND;
  if (a->data.len > UINT16_MAX) return ROAM_E_ARGUMENT;
  struct admitted head = {.data = (uint32_t)a->data.len, .user_name = UINT32_MAX, .text = UINT32_MAX};
  size_t size = sizeof head + a->data.len;
  if (name) size += head.user_name = (uint32_t)strlen(name);
  if (text) size += head.text = (uint32_t)strlen(text);
  struct roam_letter l = {.kind = ROAM_LETTER_ADMIT, .number = peer, .reason = a->reason};
  l.text = roam_mail_may(b, 1) ? roam_blob_new(NULL, size) : NULL;
  if (!l.text) return ROAM_E_MEMORY;
  uint8_t *to = put(roam_blob_data(l.text), &head, sizeof head);
  to = put(to, a->data.base, head.data);
  to = put(to, name, head.user_name);
  put(to, text, head.text);
  return roam_mail_post(b, at, &l);
}

/* len bytes as a string of its own; NULL: not given, or no memory. */
static char *take_text(const uint8_t **at, uint32_t len, bool *good) {
  if (len == UINT32_MAX) return NULL;
  char *copy = strndup((const char *)*at, len);
  *at += len;
  *good &= copy != NULL;
  return copy;
}

static void take_admission(roam_broker *b, const struct roam_letter *l) {
  struct admitted head;
  bool good = true;
  const uint8_t *at = roam_blob_data(l->text);
  memcpy(&head, at, sizeof head);
  at += sizeof head;
  roam_admission a = {.reason = l->reason, .data = {at, head.data}};
  at += head.data;
  char *name = take_text(&at, head.user_name, &good), *text = take_text(&at, head.text, &good);
  a.user_name = name;
  a.text = text;
  if (good) roam_access_admit(b, l->number, &a); /* without memory its time runs out */
  free(name);
  free(text);
}

void roam_mail_take_command(roam_broker *b, const struct roam_letter *letter) {
  if (!letter->text) return;
  if (letter->kind == ROAM_LETTER_ADMIT) take_admission(b, letter);
  else if (letter->flag) obey(b, letter);
  else pass_on(b, letter);
}

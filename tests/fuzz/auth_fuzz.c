/* auth_fuzz.c - password files, access lists and SCRAM messages. The first byte says which; access lists of one line are
 * compared with a second opinion, and nothing an input can say may prove a password it does not know. */
#include "fuzz.h"

#include "auth/acl.h"
#include "auth/scram.h"

#define NONCE "serverserverserverserver"

static const char known[] = "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
                            "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n";

static roam_bytes str(const char *text) { return (roam_bytes){(const uint8_t *)text, strlen(text)}; }

/* ---- password files ---- */

static void fuzz_passwords(roam_bytes file) {
  roam_access_fault fault, again;
  roam_rc rc;
  struct roam_passwords *p = roam_passwords_new(file, NULL, &fault, &rc);
  FUZZ_CHECK(roam_passwords_check(file, &again) == rc && (p != NULL) == (rc == 0));
  if (!p) FUZZ_CHECK(rc == ROAM_E_OPTION && fault.text && again.text == fault.text && again.line == fault.line);
  for (size_t at = 0; p && at < file.len && at < 64; at++) {
    const struct roam_password *line = roam_passwords_find(p, (roam_bytes){file.base, at});
    if (!line) continue;
    struct roam_password_check check;
    uint32_t budget = 10000;
    FUZZ_CHECK(line->iterations <= ROAM_PASSWORD_ITERATIONS_MAX && line->salt_len <= ROAM_PASSWORD_SALT_MAX);
    FUZZ_CHECK(roam_password_check_begin(&check, line, str("guess")) == 0);
    roam_password_check_step(&check, &budget);
    FUZZ_CHECK(!roam_password_check_end(&check));
  }
  roam_passwords_free(p);
}

/* ---- access lists ---- */

static bool matches(roam_bytes filter, roam_bytes topic) {
  while (filter.len > 0) {
    if (filter.base[0] == '#') return true;
    if (filter.base[0] == '+') {
      while (topic.len > 0 && topic.base[0] != '/') topic = (roam_bytes){topic.base + 1, topic.len - 1};
    } else if (topic.len > 0 && topic.base[0] == filter.base[0]) {
      topic = (roam_bytes){topic.base + 1, topic.len - 1};
    } else {
      return topic.len == 0 && filter.len == 2 && memcmp(filter.base, "/#", 2) == 0;
    }
    filter = (roam_bytes){filter.base + 1, filter.len - 1};
  }
  return topic.len == 0;
}

static bool is_plain(roam_bytes topic) {
  return topic.len > 0 && topic.len < 200 && !memchr(topic.base, '+', topic.len) && !memchr(topic.base, '#', topic.len);
}

/* "topic read FILTER" alone, where the answer is known. */
static void compare(roam_bytes filter, roam_bytes topic) {
  char line[512];
  roam_access_fault fault;
  roam_rc rc;
  if (filter.len == 0 || filter.len > 200 || !is_plain(topic) || memchr(filter.base, 0, filter.len)) return;
  if (memchr(filter.base, '\n', filter.len) || memchr(filter.base, '\r', filter.len) ||
      memchr(filter.base, ' ', filter.len) || memchr(filter.base, '\t', filter.len))
    return;
  int n = snprintf(line, sizeof line, "topic read %.*s\n", (int)filter.len, (const char *)filter.base);
  struct roam_acl *a = roam_acl_new((roam_bytes){(const uint8_t *)line, (size_t)n}, &fault, &rc);
  if (!a) return;
  struct roam_acl_who who = {.number = ROAM_ACL_ANONYMOUS};
  bool hidden = topic.base[0] == '$' && (filter.base[0] == '+' || filter.base[0] == '#');
  FUZZ_CHECK(roam_acl_may(a, &who, topic, ROAM_ACL_READ) == (!hidden && matches(filter, topic)));
  FUZZ_CHECK(!roam_acl_may(a, &who, topic, ROAM_ACL_WRITE));
  FUZZ_CHECK(roam_acl_may(a, &who, filter, ROAM_ACL_READ)); /* what is granted may be asked for */
  roam_acl_free(a);
}

static void fuzz_acl(struct tape *tape) {
  size_t list_len = tape_u16(tape), topic_len = tape_u8(tape), name_len = tape_u8(tape) & 31;
  roam_bytes list = tape_take(tape, list_len), topic = tape_take(tape, topic_len), name = tape_take(tape, name_len);
  roam_access_fault fault, again;
  roam_rc rc;
  struct roam_acl *a = roam_acl_new(list, &fault, &rc);
  FUZZ_CHECK(roam_acl_check(list, &again) == rc && (a != NULL) == (rc == 0));
  if (a) {
    struct roam_acl_who who = {roam_acl_find(a, name), name, topic};
    for (int access = ROAM_ACL_READ; access <= ROAM_ACL_WRITE; access++) {
      bool may = roam_acl_may(a, &who, topic, (enum roam_acl_access)access);
      if (may) FUZZ_CHECK(list.len > 0);
    }
    roam_acl_free(a);
  }
  compare(list, topic);
}

/* ---- SCRAM ---- */

static void fuzz_server(struct tape *tape) {
  roam_access_fault fault;
  roam_rc rc;
  struct roam_scram_server s;
  struct roam_passwords *p = roam_passwords_new(str(known), NULL, &fault, &rc);
  FUZZ_CHECK(p != NULL);
  size_t len = tape_u16(tape);
  roam_bytes first = tape_take(tape, len), last = tape_take(tape, tape_left(tape));
  uint8_t *a = fuzz_copy(first), *b = fuzz_copy(last);
  if (roam_scram_server_first(&s, (roam_bytes){a, first.len}, p, NONCE) == 0) {
    FUZZ_CHECK(s.reply.len > 0 && s.reply.len <= ROAM_SCRAM_MESSAGE_MAX && s.user_len > 0);
    FUZZ_CHECK(roam_scram_server_final(&s, (roam_bytes){b, last.len}) != 0);
  }
  free(a);
  free(b);
  roam_passwords_free(p);
}

static void fuzz_client(struct tape *tape) {
  struct roam_scram_client c = {0};
  size_t len = tape_u16(tape);
  roam_bytes first = tape_take(tape, len), last = tape_take(tape, tape_left(tape));
  uint8_t *a = fuzz_copy(first), *b = fuzz_copy(last);
  FUZZ_CHECK(roam_scram_client_first(&c, str("user"), "client") == 0);
  /* a costly answer would only be slow here */
  const char *count = first.len > 2 ? memmem(a, first.len, ",i=", 3) : NULL;
  bool cheap = !count || (const uint8_t *)count + 9 > a + first.len;
  if (cheap && roam_scram_client_final(&c, (roam_bytes){a, first.len}, str("pencil")) == 0) {
    FUZZ_CHECK(c.iterations >= ROAM_PASSWORD_ITERATIONS_MIN && c.reply.len > 0);
    FUZZ_CHECK(roam_scram_client_check(&c, (roam_bytes){b, last.len}) != 0);
  }
  free(a);
  free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct tape tape = {data, data + size};
  if (size > 8192) return 0;
  switch (tape_u8(&tape) & 3) {
    case 0: {
      roam_bytes file = tape_take(&tape, tape_left(&tape));
      uint8_t *copy = fuzz_copy(file);
      fuzz_passwords((roam_bytes){copy, file.len});
      free(copy);
      break;
    }
    case 1: fuzz_acl(&tape); break;
    case 2: fuzz_server(&tape); break;
    default: fuzz_client(&tape); break;
  }
  return 0;
}

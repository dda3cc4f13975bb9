/* acl.c - access lists in mosquitto's syntax: read from bytes, asked for topics and filters. It knows neither sessions nor
 * packets.
 *
 * The order is mosquitto's: a user's own lines, those that deny before those that grant; then the patterns, likewise; what
 * nothing grants is refused. A line that denies stops only what it matches whole; one that grants opens whatever it
 * touches, for a subscription to "#" may be of use to somebody who may read a part, and each message is checked again on
 * its way.
 *
 * A name put in for %c or %u is compared, never read as a filter, and one with '/', '+' or '#' in it matches no pattern
 * that asks for it: "a/b" must not walk into the home of "a", nor "#" into everybody's. */
#include "auth/acl.h"

#include "auth/lines.h"
#include "base/map.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
#define PATTERNS 1u /* owners: 0 anonymous, 1 patterns, then users */

/* One line; at the end of a chain next is NONE. */
struct entry {
  roam_bytes filter;
  uint32_t next;
  uint8_t access; /* 0: deny */
};

/* Whose lines: one chain of denials, one of grants in the order of the file. */
struct owner {
  uint32_t deny, grant, grant_last;
};

struct roam_acl {
  uint8_t *text; /* filters and names lie here */
  struct entry *entries;
  struct owner *owners;
  uint32_t entries_len, owners_len;
  struct roam_map users; /* name -> its number, as a pointer; never 0 */
};

/* ---- levels ---- */

struct level {
  roam_bytes text;
  bool some; /* false: there is no such level */
};

static struct level next_level(roam_bytes *rest, bool *over) {
  struct level l = {.some = !*over};
  if (*over) return l;
  if (!roam_bytes_cut(rest, '/', &l.text)) {
    l.text = *rest;
    *over = true;
  }
  return l;
}

static bool is_word(const struct level *l, char word) { return l->some && l->text.len == 1 && l->text.base[0] == word; }

static bool takes_name(roam_bytes name) {
  return name.len > 0 && !memchr(name.base, '/', name.len) && !memchr(name.base, '+', name.len) &&
         !memchr(name.base, '#', name.len);
}

/* Does the line ask for a name that this one cannot give? */
static bool is_void(roam_bytes line, const struct roam_acl_who *who) {
  for (size_t i = 0; i + 1 < line.len; i++) {
    if (line.base[i] != '%') continue;
    if (line.base[i + 1] == 'c' && !takes_name(who->client_id)) return true;
    if (line.base[i + 1] == 'u' && !takes_name(who->user_name)) return true;
  }
  return false;
}

/* The level of a line against a level of a topic or filter, %c and %u replaced. who NULL: as it stands. */
static bool same_level(roam_bytes line, roam_bytes other, const struct roam_acl_who *who) {
  while (line.len > 0) {
    bool id = who && roam_bytes_begin(line, "%c"), user = who && roam_bytes_begin(line, "%u");
    roam_bytes piece = id ? who->client_id : user ? who->user_name : (roam_bytes){line.base, 1};
    if (other.len < piece.len || memcmp(other.base, piece.base, piece.len) != 0) return false;
    size_t used = id || user ? 2 : 1;
    line = (roam_bytes){line.base + used, line.len - used};
    other = (roam_bytes){other.base + piece.len, other.len - piece.len};
  }
  return other.len == 0;
}

/* Is there a topic that both match (whole false), or does the line match every topic that the other does (whole true)?
 * Section 4.7.2: a wildcard at the first level matches nothing that begins with '$'. */
static bool meets(roam_bytes line, roam_bytes other, const struct roam_acl_who *who, bool whole) {
  bool line_over = false, other_over = false, first = true;
  if (who && is_void(line, who)) return false;
  for (;; first = false) {
    struct level a = next_level(&line, &line_over), b = next_level(&other, &other_over);
    bool wild_a = is_word(&a, '+') || is_word(&a, '#'), wild_b = is_word(&b, '+') || is_word(&b, '#');
    if (first && wild_a && !wild_b && b.text.len > 0 && b.text.base[0] == '$') return false;
    if (first && wild_b && !wild_a && a.text.len > 0 && a.text.base[0] == '$') return false;
    if (is_word(&a, '#')) return true;
    if (is_word(&b, '#')) return !whole; /* "a/#" matches "a" too */
    if (!a.some || !b.some) return !a.some && !b.some;
    if (is_word(&a, '+')) continue;
    if (is_word(&b, '+')) {
      if (whole) return false;
      continue;
    }
    if (!same_level(a.text, b.text, who)) return false;
  }
}

/* ---- asking ---- */

enum answer {
  SILENT,
  GRANTED,
  DENIED
};

static enum answer ask(const struct roam_acl *a, uint32_t owner, const struct roam_acl_who *who, roam_bytes what,
                       enum roam_acl_access access) {
  const struct owner *o = &a->owners[owner];
  const struct roam_acl_who *names = owner == PATTERNS ? who : NULL;
  for (uint32_t i = o->deny; i != NONE; i = a->entries[i].next)
    if (meets(a->entries[i].filter, what, names, true)) return DENIED;
  for (uint32_t i = o->grant; i != NONE; i = a->entries[i].next)
    if ((a->entries[i].access & access) && meets(a->entries[i].filter, what, names, false)) return GRANTED;
  return SILENT;
}

bool roam_acl_may(const struct roam_acl *a, const struct roam_acl_who *who, roam_bytes what, enum roam_acl_access access) {
  enum answer answer = who->number < a->owners_len ? ask(a, who->number, who, what, access) : SILENT;
  if (answer == SILENT) answer = ask(a, PATTERNS, who, what, access);
  return answer == GRANTED;
}

uint32_t roam_acl_find(const struct roam_acl *a, roam_bytes user_name) {
  if (!user_name.base) return ROAM_ACL_ANONYMOUS;
  void *found = user_name.len > 0 ? roam_map_get(&a->users, user_name.base, user_name.len) : NULL;
  return found ? (uint32_t)(uintptr_t)found : ROAM_ACL_NOBODY;
}

/* ---- reading ---- */

static bool is_blank(uint8_t c) { return c == ' ' || c == '\t'; }

static roam_bytes trim(roam_bytes text) {
  while (text.len > 0 && is_blank(text.base[0])) text = (roam_bytes){text.base + 1, text.len - 1};
  while (text.len > 0 && is_blank(text.base[text.len - 1])) text.len--;
  return text;
}

static roam_bytes take_word(roam_bytes *rest) {
  size_t len = 0;
  while (len < rest->len && !is_blank(rest->base[len])) len++;
  roam_bytes word = {rest->base, len};
  *rest = trim((roam_bytes){rest->base + len, rest->len - len});
  return word;
}

static bool is(roam_bytes word, const char *text) {
  return roam_bytes_same(word, (roam_bytes){(const uint8_t *)text, strlen(text)});
}

static bool take_access(roam_bytes *rest, uint8_t *access) {
  roam_bytes after = *rest, word = take_word(&after);
  if (is(word, "read")) *access = ROAM_ACL_READ;
  else if (is(word, "write")) *access = ROAM_ACL_WRITE;
  else if (is(word, "readwrite")) *access = ROAM_ACL_READ | ROAM_ACL_WRITE;
  else if (is(word, "deny")) *access = 0;
  else return false;
  *rest = after;
  return true;
}

/* Section 4.7.1: where wildcards may stand. */
static bool is_filter(roam_bytes filter) {
  bool over = false;
  if (filter.len == 0 || filter.len > 65535) return false;
  while (!over) {
    struct level l = next_level(&filter, &over);
    bool wild = memchr(l.text.base, '+', l.text.len) || memchr(l.text.base, '#', l.text.len);
    if (wild && l.text.len > 1) return false;
    if (is_word(&l, '#') && !over) return false;
  }
  return true;
}

static void chain(struct roam_acl *a, uint32_t owner, uint32_t entry) {
  struct owner *o = &a->owners[owner];
  struct entry *e = &a->entries[entry];
  e->next = NONE;
  if (e->access == 0) {
    e->next = o->deny;
    o->deny = entry;
  } else if (o->grant == NONE) {
    o->grant = o->grant_last = entry;
  } else {
    a->entries[o->grant_last].next = entry;
    o->grant_last = entry;
  }
}

static const char *read_entry(struct roam_acl *a, uint32_t owner, roam_bytes rest) {
  uint8_t access = ROAM_ACL_READ | ROAM_ACL_WRITE;
  take_access(&rest, &access);
  if (!is_filter(rest)) return "expected topic [read|write|readwrite|deny] FILTER, with + and # as whole levels and # last";
  a->entries[a->entries_len] = (struct entry){.filter = rest, .access = access};
  chain(a, owner, a->entries_len++);
  return NULL;
}

static roam_rc read_user(struct roam_acl *a, roam_bytes name, uint32_t *owner) {
  void *found = roam_map_get(&a->users, name.base, name.len);
  if (found) {
    *owner = (uint32_t)(uintptr_t)found;
    return 0;
  }
  *owner = a->owners_len;
  roam_rc rc = roam_map_put(&a->users, name.base, name.len, (void *)(uintptr_t)*owner);
  if (rc == 0) a->owners[a->owners_len++] = (struct owner){NONE, NONE, NONE};
  return rc;
}

static roam_rc read_line(struct roam_acl *a, roam_bytes line, uint32_t *owner, roam_access_fault *fault) {
  roam_bytes rest = trim(line);
  roam_rc rc = 0;
  if (rest.len == 0 || rest.base[0] == '#') return 0;
  if (memchr(rest.base, 0, rest.len)) {
    fault->text = "a zero byte; this is not an access list";
    return ROAM_E_OPTION;
  }
  roam_bytes word = take_word(&rest);
  if (is(word, "topic")) fault->text = read_entry(a, *owner, rest);
  else if (is(word, "pattern")) fault->text = read_entry(a, PATTERNS, rest);
  else if (!is(word, "user")) fault->text = "a line begins with topic, user, pattern or #";
  else if (rest.len == 0) fault->text = "user without a name";
  else rc = read_user(a, rest, owner);
  return fault->text ? ROAM_E_OPTION : rc;
}

static uint32_t count_lines(roam_bytes file) {
  roam_bytes line;
  uint32_t count = 0;
  while (count <= ROAM_ACL_ENTRIES_MAX && roam_line_next(&file, &line)) {
    line = trim(line);
    count += line.len > 0 && line.base[0] != '#';
  }
  return count;
}

static roam_rc fill(struct roam_acl *a, roam_bytes file, roam_access_fault *fault) {
  uint32_t count = count_lines(file), owner = ROAM_ACL_ANONYMOUS;
  if (file.len > ROAM_ACL_FILE_MAX || count > ROAM_ACL_ENTRIES_MAX) {
    fault->text = "larger than 64 MiB or 1000000 lines; use patterns";
    return ROAM_E_OPTION;
  }
  roam_map_init(&a->users, count, NULL); /* whose names are in it, the administrator chooses */
  a->text = malloc(file.len + 1);
  a->entries = calloc((size_t)count + 1, sizeof *a->entries);
  a->owners = calloc((size_t)count + 2, sizeof *a->owners);
  if (!a->text || !a->entries || !a->owners) return ROAM_E_MEMORY;
  for (; a->owners_len < 2; a->owners_len++) a->owners[a->owners_len] = (struct owner){NONE, NONE, NONE};
  if (file.len > 0) memcpy(a->text, file.base, file.len);
  roam_bytes rest = {a->text, file.len}, line;
  while (roam_line_next(&rest, &line)) {
    fault->line++;
    roam_rc rc = read_line(a, line, &owner, fault);
    if (rc != 0) return rc;
  }
  return 0;
}

struct roam_acl *roam_acl_new(roam_bytes file, roam_access_fault *fault, roam_rc *rc) {
  struct roam_acl *a = calloc(1, sizeof *a);
  *fault = (roam_access_fault){0};
  *rc = a ? fill(a, file, fault) : ROAM_E_MEMORY;
  if (*rc == 0) return a;
  roam_acl_free(a);
  return NULL;
}

void roam_acl_free(struct roam_acl *a) {
  if (!a) return;
  roam_map_reset(&a->users);
  free(a->entries);
  free(a->owners);
  free(a->text);
  free(a);
}

roam_rc roam_acl_check(roam_bytes file, roam_access_fault *fault) {
  roam_access_fault ignored;
  roam_rc rc;
  roam_acl_free(roam_acl_new(file, fault ? fault : &ignored, &rc));
  return rc;
}

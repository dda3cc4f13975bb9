/* cmd_passwd.c - `roamqtt passwd`: one user's line in a password file, added, replaced or taken out. Passwords come from
 * stdin or the terminal, never echoed; the file is written whole beside the old one and renamed over it, mode 0600. */
#include "options.h"

#include <roamqtt/auth.h>
#include <roamqtt/loop.h>

#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define FILE_MAX ((size_t)64 << 20)
#define PASSWORD_MAX 65535

struct passwd {
  const char *file, *user, *password; /* as given */
  bool create, drop, batch;
  uint64_t iterations;
  uint8_t *old; /* the file as it was */
  size_t old_len;
  char typed[PASSWORD_MAX + 2];
  char hash[ROAM_PASSWORD_TEXT_MAX];
};

/* ---- the password ---------------------------------------------------------------------------------------------------- */

static bool read_line(char *out, size_t cap, const char *prompt) {
  struct termios before, quiet;
  bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
  if (terminal) {
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    fprintf(stderr, "%s: ", prompt);
  }
  bool good = fgets(out, (int)cap, stdin) != NULL;
  if (terminal) {
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    fputc('\n', stderr);
  }
  if (good) out[strcspn(out, "\r\n")] = 0;
  return good;
}

static int ask(struct passwd *p) {
  if (!read_line(p->typed, sizeof p->typed, "Password") || !p->typed[0])
    return roam_tool_usage("passwd", "no password on stdin; type one, pipe one, or give it with -b FILE USER PASSWORD");
  p->password = p->typed;
  if (!isatty(STDIN_FILENO)) return 0;
  char *again = malloc(sizeof p->typed);
  bool same = again && read_line(again, sizeof p->typed, "Again") && strcmp(again, p->typed) == 0;
  if (again) explicit_bzero(again, sizeof p->typed);
  free(again);
  return same ? 0 : roam_tool_fail("passwd", ROAM_EXIT_USAGE, "the two passwords differ; nothing was changed");
}

/* ---- the file -------------------------------------------------------------------------------------------------------- */

static int read_old(struct passwd *p) {
  char why[ROAM_WHY_MAX];
  roam_access_fault fault;
  if (p->create) return 0;
  if (roam_file_read(p->file, FILE_MAX, &p->old, &p->old_len, why))
    return roam_tool_fail("passwd", ROAM_EXIT_USAGE, "%s; -c makes a new file", why);
  if (roam_passwords_check((roam_bytes){p->old, p->old_len}, &fault) == 0) return 0;
  return roam_tool_fail("passwd", ROAM_EXIT_USAGE, "%s, line %u: %s", p->file, fault.line, fault.text);
}

static bool is_users(const struct passwd *p, const uint8_t *line, size_t len) {
  size_t name = strlen(p->user);
  return len > name && memcmp(line, p->user, name) == 0 && line[name] == ':';
}

/* Everything but the user's line, in its order; the new line stands where the old one stood, else at the end. */
static size_t write_new(const struct passwd *p, char *out, bool *found) {
  size_t len = 0;
  *found = false;
  for (size_t at = 0; at < p->old_len;) {
    const uint8_t *end = memchr(p->old + at, '\n', p->old_len - at);
    size_t line = end ? (size_t)(end - (p->old + at)) : p->old_len - at;
    if (is_users(p, p->old + at, line)) {
      *found = true;
      if (!p->drop) len += (size_t)sprintf(out + len, "%s:%s\n", p->user, p->hash);
    } else {
      memcpy(out + len, p->old + at, line);
      len += line;
      out[len++] = '\n';
    }
    at += line + 1;
  }
  if (!*found && !p->drop) len += (size_t)sprintf(out + len, "%s:%s\n", p->user, p->hash);
  return len;
}

static int write_file(const struct passwd *p) {
  char why[ROAM_WHY_MAX];
  bool found;
  char *text = malloc(p->old_len + strlen(p->user) + sizeof p->hash + 4);
  if (!text) return roam_tool_fail("passwd", ROAM_EXIT_USAGE, "%s", roam_strerror(ROAM_E_MEMORY));
  size_t len = write_new(p, text, &found);
  int code = 0;
  if (p->drop && !found) code = roam_tool_fail("passwd", ROAM_EXIT_USAGE, "%s has no user '%s'", p->file, p->user);
  else if (roam_file_write(p->file, text, len, 0600, why)) code = roam_tool_fail("passwd", ROAM_EXIT_USAGE, "%s", why);
  free(text);
  return code;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------- */

static int check_words(struct passwd *p, int rest, char **argv) {
  int want = p->batch ? 3 : 2;
  if (p->create && p->drop)
    return roam_tool_usage("passwd", "-c makes a file, -D takes a user out of one; give one of them");
  if (p->drop && p->batch) return roam_tool_usage("passwd", "-D needs no password; leave -b out");
  if (rest - 1 != want)
    return roam_tool_usage("passwd", p->batch ? "expected FILE USER PASSWORD" : "expected FILE and USER");
  p->file = argv[1];
  p->user = argv[2];
  if (p->batch) p->password = argv[3];
  if (!*p->user || strlen(p->user) > 65535 || strpbrk(p->user, ":\r\n") || *p->user == '#')
    return roam_tool_usage("passwd", "a user name has from 1 to 65535 bytes, no colon, and does not begin with #");
  if (p->batch && !*p->password) return roam_tool_usage("passwd", "the password is empty");
  return 0;
}

static int run(struct passwd *p) {
  int code = read_old(p);
  if (!code && !p->drop && !p->password) code = ask(p);
  if (code) return code;
  roam_bytes password = {(const uint8_t *)p->password, p->password ? strlen(p->password) : 0};
  roam_rc rc = p->drop ? 0 : roam_password_make(p->hash, password, (uint32_t)p->iterations, roam_random_system());
  if (rc) return roam_tool_fail("passwd", ROAM_EXIT_USAGE, "the password cannot be hashed: %s", roam_strerror(rc));
  return write_file(p);
}

int cmd_passwd(int argc, char **argv) {
  static struct passwd p;
  int rest, code;
  const roam_opt rows[] = {
      {"create", 'c', ROAM_OPT_FLAG, NULL, "make a new file; one that is there is overwritten", &p.create},
      {"delete", 'D', ROAM_OPT_FLAG, NULL, "take the user out", &p.drop},
      {"batch", 'b', ROAM_OPT_FLAG, NULL, "the password is the third operand (others may see it in the process list)",
       &p.batch},
      {"iterations", 'I', ROAM_OPT_UINT, "N", "how costly a guess is, for the broker too (15000)", &p.iterations,
       ROAM_PASSWORD_ITERATIONS_MIN, ROAM_PASSWORD_ITERATIONS_MAX},
  };
  const roam_opts opts = {"passwd",
                          "[options] FILE USER [PASSWORD]",
                          "Sets a user's password in a file for `roamqtt broker --password-file`.\n"
                          "The password is read from stdin. Lines that mosquitto_passwd made stay as they are.",
                          NULL,
                          rows,
                          sizeof rows / sizeof rows[0]};
  if (!roam_opts_read(&opts, argc, argv, &rest, &code)) return code;
  code = check_words(&p, rest, argv);
  if (!code) code = run(&p);
  explicit_bzero(p.typed, sizeof p.typed);
  free(p.old);
  return code;
}

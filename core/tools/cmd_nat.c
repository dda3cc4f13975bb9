/* cmd_nat.c - `roamqtt nat`: the live relay, told what to do by its options, by time and by lines on stdin. What passes
 * through it is the relay's affair; this file reads words and prints lines. */
#include "options.h"

#include <roamqtt/hop.h>
#include <roamqtt/loop.h>

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINE_MAX_BYTES 256
#define REBINDS_MAX 256

struct rebind {
  uint64_t after_ns; /* since ready */
  roam_addr to;
};

struct nat {
  roam_relay_options o;
  roam_addr rebind_to;
  roam_opt_list rebind_at;
  const char *filtering;
  uint64_t mappings_max;
  bool udp_only, tcp_only, quiet;

  struct rebind rebinds[REBINDS_MAX];
  size_t rebinds_len, rebinds_done;
  roam_loop *loop;
  roam_relay *relay;
  int signals;
  uint32_t listening; /* sockets that are */
  roam_time ready;    /* 0 before */
  char line[LINE_MAX_BYTES];
  size_t line_len;
  bool line_too_long, down, over;
  int code;
};

static const char *shown(const roam_addr *addr, char text[ROAM_ADDR_TEXT_MAX]) { return roam_addr_format(addr, text); }

/* ---- options --------------------------------------------------------------------------------------------------------- */

/* Can sockets be bound to it? Asked beforehand, because later it would only show as connections that fail. */
static int try_address(const roam_addr *addr) {
  struct sockaddr_storage at = {0};
  struct sockaddr_in *v4 = (struct sockaddr_in *)&at;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&at;
  at.ss_family = addr->family == 4 ? AF_INET : AF_INET6;
  if (addr->family == 4) memcpy(&v4->sin_addr, addr->ip, 4);
  else memcpy(&v6->sin6_addr, addr->ip, 16);
  v6->sin6_scope_id = addr->family == 6 ? addr->scope : v6->sin6_scope_id;
  int fd = socket(at.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), error = 0;
  if (fd < 0 || bind(fd, (struct sockaddr *)&at, addr->family == 4 ? sizeof *v4 : sizeof *v6)) error = errno;
  if (fd >= 0) close(fd);
  return error;
}

/* Why this cannot be a public address, or NULL. */
static const char *public_error(const struct nat *n, const roam_addr *addr) {
  if (addr->port) return "has a port; a NAT chooses ports itself, give the address alone";
  if (addr->family != n->o.server.family) return "is not of the server's family; give both as IPv4 or both as IPv6";
  if (roam_addr_is_any(addr)) return "is no single address; name one of this machine's, such as 127.0.10.200";
  if (try_address(addr))
    return "is not an address of this machine; take one from 127.0.0.0/8, or add it with `ip address add`";
  return NULL;
}

static int check_addresses(struct nat *n) {
  char text[ROAM_ADDR_TEXT_MAX];
  if (!n->o.inside.family)
    return roam_tool_usage("nat", "--listen: required; where clients connect, such as 127.0.0.1:14568");
  if (!n->o.server.family)
    return roam_tool_usage("nat", "--server: required; the broker behind the NAT, such as 127.0.0.1:14567");
  if (!n->o.server.port) return roam_tool_usage("nat", "--server: a port is missing; write 127.0.0.1:14567");
  if (roam_addr_equal(&n->o.inside, &n->o.server))
    return roam_tool_usage("nat", "--listen: the same as --server; choose another port");
  if (!n->o.address.family)
    return roam_tool_usage("nat", "--public: required; the NAT's public address, such as 127.0.10.200");
  const char *wrong = public_error(n, &n->o.address);
  if (wrong) return roam_tool_usage("nat", "--public: %s %s", shown(&n->o.address, text), wrong);
  if (!n->rebind_to.family) return 0;
  wrong = public_error(n, &n->rebind_to);
  return wrong ? roam_tool_usage("nat", "--rebind-to: %s %s", shown(&n->rebind_to, text), wrong) : 0;
}

/* "5s=ADDR"; or "5s", which goes to --rebind-to and back to --public by turns. */
static int read_rebind(struct nat *n, const char *word, size_t *turns) {
  char when[64];
  const char *equals = strchr(word, '=');
  size_t len = equals ? (size_t)(equals - word) : strlen(word);
  struct rebind *r = &n->rebinds[n->rebinds_len];
  snprintf(when, sizeof when, "%.*s", (int)(len < 60 ? len : 60), word);
  if (!roam_text_duration(when, &r->after_ns)) {
    return roam_tool_usage("nat", "--rebind-at: expected a time and an address such as 5s=127.0.10.203, got '%s'", word);
  }
  if (!equals && !n->rebind_to.family) {
    return roam_tool_usage("nat", "--rebind-at: '%s' names no address; write %s=ADDR or add --rebind-to ADDR", word, word);
  }
  if (!equals) r->to = (*turns)++ % 2 ? n->o.address : n->rebind_to;
  else if (!roam_text_addr(equals + 1, &r->to))
    return roam_tool_usage("nat", "--rebind-at: '%s' is not an address", equals + 1);
  const char *wrong = public_error(n, &r->to);
  if (wrong) return roam_tool_usage("nat", "--rebind-at: %s %s", equals ? equals + 1 : word, wrong);
  n->rebinds_len++;
  return 0;
}

static int compare_rebinds(const void *a, const void *b) {
  uint64_t x = ((const struct rebind *)a)->after_ns, y = ((const struct rebind *)b)->after_ns;
  return x < y ? -1 : x > y;
}

static int read_filtering(struct nat *n) {
  static const struct {
    const char *name;
    roam_nat_behaviour is;
  } names[] = {{"endpoint-independent", ROAM_NAT_ENDPOINT_INDEPENDENT},
               {"address-dependent", ROAM_NAT_ADDRESS_DEPENDENT},
               {"address-and-port-dependent", ROAM_NAT_ADDRESS_AND_PORT_DEPENDENT}};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (strcmp(n->filtering, names[i].name) != 0) continue;
    n->o.filtering = names[i].is;
    return 0;
  }
  return roam_tool_usage(
      "nat", "--filtering: expected endpoint-independent, address-dependent or address-and-port-dependent, got '%s'",
      n->filtering);
}

static int settle_options(struct nat *n) {
  size_t turns = 0;
  if (n->udp_only && n->tcp_only) return roam_tool_usage("nat", "--udp-only and --tcp-only: give one of them or neither");
  n->o.udp = !n->tcp_only;
  n->o.tcp = !n->udp_only;
  n->o.mappings_max = (uint32_t)n->mappings_max;
  int code = read_filtering(n);
  if (!code) code = check_addresses(n);
  if (!code && n->rebind_to.family && !n->rebind_at.len) {
    return roam_tool_usage("nat", "--rebind-to: says where to but not when; add --rebind-at TIME");
  }
  for (size_t i = 0; !code && i < n->rebind_at.len; i++) code = read_rebind(n, n->rebind_at.at[i], &turns);
  qsort(n->rebinds, n->rebinds_len, sizeof n->rebinds[0], compare_rebinds);
  return code;
}

/* ---- lines on stdin -------------------------------------------------------------------------------------------------- */

static const char commands[] = "rebind ADDR, delay TIME [JITTER], loss SHARE, rate SIZE, down, up, status, help, quit";

static void say_rebind(struct nat *n, roam_time now, const char *word) {
  char text[ROAM_ADDR_TEXT_MAX];
  roam_addr to;
  if (!roam_text_addr(word, &to)) {
    printf("error '%s' is not an address; write rebind 127.0.10.203\n", word);
    return;
  }
  const char *wrong = public_error(n, &to);
  if (wrong) {
    printf("error %s %s\n", word, wrong);
    return;
  }
  roam_rc rc = roam_relay_rebind(n->relay, now, &to);
  if (rc) printf("error cannot rebind: %s\n", roam_strerror(rc));
  else printf("ok rebind %s\n", shown(&to, text));
}

static void say_delay(struct nat *n, const char *word, const char *more) {
  uint64_t delay_ns, jitter_ns = 0;
  if (!roam_text_duration(word, &delay_ns) || (*more && !roam_text_duration(more, &jitter_ns))) {
    printf("error expected durations; write delay 50ms or delay 50ms 5ms\n");
    return;
  }
  roam_relay_set_delay(n->relay, delay_ns, jitter_ns);
  printf("ok delay %s jitter %s\n", word, *more ? more : "0");
}

static void say_loss(struct nat *n, const char *word) {
  uint32_t ppm;
  if (!roam_text_ppm(word, &ppm)) {
    printf("error expected a share; write loss 2%% or loss 500ppm\n");
    return;
  }
  roam_relay_set_loss(n->relay, ppm);
  printf("ok loss %s\n", word);
}

static void say_rate(struct nat *n, const char *word) {
  uint64_t rate = 0;
  if (strcmp(word, "unlimited") != 0 && !roam_text_rate(word, &rate)) {
    printf("error expected bytes per second; write rate 100k, rate 10Mbit or rate unlimited\n");
    return;
  }
  roam_relay_set_rate(n->relay, rate);
  printf("ok rate %s\n", rate ? word : "unlimited");
}

static void say_down(struct nat *n, bool down) {
  roam_relay_set_down(n->relay, down);
  n->down = down;
  printf("ok %s\n", down ? "down" : "up");
}

static void print_figures(const struct nat *n, FILE *to) {
  roam_relay_stats s = roam_relay_get_stats(n->relay);
  roam_addr address = roam_relay_address(n->relay);
  char text[ROAM_ADDR_TEXT_MAX];
  fprintf(to, "public=%s link=%s udp=%llu tcp=%llu rebinds=%llu resets=%llu hanging=%llu ", shown(&address, text),
          n->down ? "down" : "up", (unsigned long long)s.udp_mappings, (unsigned long long)s.tcp_mappings,
          (unsigned long long)s.rebinds, (unsigned long long)s.resets, (unsigned long long)s.hanging);
  fprintf(to, "datagrams_out=%llu datagrams_in=%llu bytes_out=%llu bytes_in=%llu lost_out=%llu lost_in=%llu\n",
          (unsigned long long)s.datagrams[ROAM_OUT], (unsigned long long)s.datagrams[ROAM_IN],
          (unsigned long long)s.bytes[ROAM_OUT], (unsigned long long)s.bytes[ROAM_IN], (unsigned long long)s.lost[ROAM_OUT],
          (unsigned long long)s.lost[ROAM_IN]);
}

/* One line, split at blanks into at most three words; each gets one answer that begins with ok or error. */
static void obey(struct nat *n, roam_time now, char *line) {
  char *rest = NULL, *verb = strtok_r(line, " \t\r", &rest), *word = strtok_r(NULL, " \t\r", &rest),
       *more = strtok_r(NULL, " \t\r", &rest), *beyond = strtok_r(NULL, " \t\r", &rest);
  if (!verb) return;
  bool needs = !strcmp(verb, "rebind") || !strcmp(verb, "delay") || !strcmp(verb, "loss") || !strcmp(verb, "rate");
  if (needs && !word) printf("error %s: a value is missing; the commands are: %s\n", verb, commands);
  else if (beyond || (more && strcmp(verb, "delay") != 0) || (word && !needs)) {
    printf("error %s: too many words; the commands are: %s\n", verb, commands);
  } else if (!strcmp(verb, "rebind")) say_rebind(n, now, word);
  else if (!strcmp(verb, "delay")) say_delay(n, word, more ? more : "");
  else if (!strcmp(verb, "loss")) say_loss(n, word);
  else if (!strcmp(verb, "rate")) say_rate(n, word);
  else if (!strcmp(verb, "down") || !strcmp(verb, "up")) say_down(n, verb[0] == 'd');
  else if (!strcmp(verb, "help")) printf("ok %s\n", commands);
  else if (!strcmp(verb, "status")) {
    printf("ok ");
    print_figures(n, stdout);
  } else if (!strcmp(verb, "quit")) {
    printf("ok quit\n");
    n->over = true;
  } else printf("error unknown command '%s'; the commands are: %s\n", verb, commands);
}

static void end_line(struct nat *n, roam_time now) {
  n->line[n->line_len] = 0;
  if (n->line_too_long) printf("error line longer than %d bytes; the commands are: %s\n", LINE_MAX_BYTES - 1, commands);
  else obey(n, now, n->line);
  n->line_len = 0;
  n->line_too_long = false;
  fflush(stdout);
}

static void take_bytes(struct nat *n, roam_time now, const char *bytes, size_t len) {
  for (size_t i = 0; i < len && !n->over; i++) {
    if (bytes[i] == '\n') end_line(n, now);
    else if (n->line_len + 1 < LINE_MAX_BYTES) n->line[n->line_len++] = bytes[i];
    else n->line_too_long = true;
  }
}

/* False at the end of stdin (or when it fails, which is the same to us): the relay runs on without it. */
static bool read_stdin(struct nat *n, roam_time now) {
  char bytes[4096];
  ssize_t len = read(STDIN_FILENO, bytes, sizeof bytes);
  if (len < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  if (len > 0) take_bytes(n, now, bytes, (size_t)len);
  else if (n->line_len || n->line_too_long) end_line(n, now);
  return len > 0;
}

static roam_time take_stdin(void *context, roam_time now) {
  struct nat *n = context;
  struct pollfd ready = {STDIN_FILENO, POLLIN, 0};
  if (poll(&ready, 1, 0) == 1 && !read_stdin(n, now)) roam_loop_remove_fd(n->loop, STDIN_FILENO);
  return ROAM_NEVER;
}

/* A plain file or /dev/null cannot be waited for; it never blocks either. */
static void watch_stdin(struct nat *n, roam_time now) {
  if (roam_loop_add_fd(n->loop, STDIN_FILENO, take_stdin, n) == 0) return;
  while (!n->over && read_stdin(n, now)) {
  }
}

/* ---- events ---------------------------------------------------------------------------------------------------------- */

static int refuse_listen(const struct nat *n, const roam_event *ev) {
  char text[ROAM_ADDR_TEXT_MAX];
  shown(&n->o.inside, text);
  switch (ev->rc) {
    case ROAM_E_ADDRESS_IN_USE:
      return roam_tool_fail("nat", ROAM_EXIT_CONNECT,
                            "--listen %s: the port is in use; stop the other program or choose another", text);
    case ROAM_E_ADDRESS_NOT_AVAILABLE:
      return roam_tool_fail("nat", ROAM_EXIT_CONNECT,
                            "--listen %s: this machine has no such address (`ip address` lists them)", text);
    case ROAM_E_PERMISSION:
      return roam_tool_fail("nat", ROAM_EXIT_CONNECT, "--listen %s: ports below 1024 need root; choose a higher one", text);
    default: return roam_tool_fail("nat", ROAM_EXIT_CONNECT, "--listen %s: %s", text, roam_strerror(ev->rc));
  }
}

static void hear_listening(struct nat *n, const roam_event *ev) {
  char inside[ROAM_ADDR_TEXT_MAX], server[ROAM_ADDR_TEXT_MAX], address[ROAM_ADDR_TEXT_MAX];
  uint32_t wanted = (n->o.udp ? 1 : 0) + (n->o.tcp ? 1 : 0);
  /* With both, UDP is bound first and TCP follows on the same port. */
  if (++n->listening < wanted || n->ready) return;
  n->ready = ev->at;
  roam_addr at = roam_relay_inside(n->relay);
  printf("ready listen=%s server=%s public=%s\n", shown(&at, inside), shown(&n->o.server, server),
         shown(&n->o.address, address));
  watch_stdin(n, ev->at);
}

static void hear(struct nat *n, const roam_event *ev) {
  char a[ROAM_ADDR_TEXT_MAX], b[ROAM_ADDR_TEXT_MAX];
  const roam_event_path *path = &ev->u.path;
  uint64_t ms = n->ready && ev->at > n->ready ? (ev->at - n->ready) / ROAM_MS : 0;
  if (ev->kind == ROAM_EV_LISTENING) hear_listening(n, ev);
  if (ev->kind == ROAM_EV_LISTEN_FAILED && !n->over) {
    n->code = refuse_listen(n, ev);
    n->over = true;
  }
  if (n->quiet || ev->kind < ROAM_EV_NAT_REBOUND || ev->kind > ROAM_EV_NAT_MAPPED) return;
  printf("event %llu.%03llu ", (unsigned long long)(ms / 1000), (unsigned long long)(ms % 1000));
  if (ev->kind == ROAM_EV_NAT_REBOUND) printf("rebound %s -> %s\n", shown(&path->old_local, a), shown(&path->local, b));
  else if (ev->kind == ROAM_EV_NAT_MAPPED) printf("mapped %s as %s\n", shown(&path->remote, a), shown(&path->local, b));
  else printf("reset %s\n", shown(&path->remote, a));
}

static void take_events(void *context, const roam_event ev[], size_t count) {
  for (size_t i = 0; i < count; i++) hear(context, &ev[i]);
  fflush(stdout);
}

static roam_time take_signal(void *context, roam_time now) {
  struct nat *n = context;
  (void)now;
  if (roam_tool_signal_take(n->signals)) n->over = true;
  return ROAM_NEVER;
}

/* ---- running --------------------------------------------------------------------------------------------------------- */

/* Does what is due; how long until the next. */
static uint64_t keep_schedule(struct nat *n) {
  while (n->ready && n->rebinds_done < n->rebinds_len) {
    const struct rebind *r = &n->rebinds[n->rebinds_done];
    roam_time now = roam_loop_now(n->loop), at = n->ready + r->after_ns;
    if (at > now) return at - now;
    (void)roam_relay_rebind(n->relay, now, &r->to); /* checked when the options were read */
    n->rebinds_done++;
  }
  return ROAM_NEVER;
}

static void write_log(void *context, roam_time at, roam_level level, const char *line) {
  (void)context, (void)at, (void)level;
  fprintf(stderr, "roamqtt nat: %s\n", line);
}

static int set_up(struct nat *n) {
  roam_loop_options lo;
  roam_loop_options_init(&lo);
  lo.log = n->o.log = (roam_log){.write = n->quiet ? NULL : write_log, .level = ROAM_LOG_WARNING};
  setvbuf(stdout, NULL, _IOLBF, 0);
  n->signals = roam_tool_signals();
  n->loop = roam_loop_new(&lo);
  if (n->signals < 0 || !n->loop) return roam_tool_fail("nat", ROAM_EXIT_CONNECT, "no event loop: %s", strerror(errno));
  n->relay = roam_relay_new(&n->o, roam_random_system());
  if (!n->relay) return roam_tool_fail("nat", ROAM_EXIT_USAGE, "cannot make the relay from these options");
  roam_rc rc = roam_loop_add(n->loop, roam_relay_machine(n->relay), take_events, n);
  if (!rc) rc = roam_loop_add_fd(n->loop, n->signals, take_signal, n);
  return rc ? roam_tool_fail("nat", ROAM_EXIT_CONNECT, "cannot start: %s", roam_strerror(rc)) : 0;
}

static int run(struct nat *n) {
  n->code = set_up(n);
  while (!n->code && !n->over) {
    if (roam_loop_step(n->loop, keep_schedule(n)) >= 0) continue;
    n->code = roam_tool_fail("nat", ROAM_EXIT_LOST, "the event loop failed: %s", strerror(errno));
  }
  if (!n->code && !n->quiet) {
    fprintf(stderr, "roamqtt nat: stopped: ");
    print_figures(n, stderr);
  }
  roam_loop_free(n->loop);
  roam_relay_free(n->relay);
  if (n->signals > 0) close(n->signals);
  return n->code;
}

int cmd_nat(int argc, char **argv) {
  struct nat n = {.filtering = "address-and-port-dependent"};
  roam_relay_options_init(&n.o);
  n.mappings_max = n.o.mappings_max;
  const roam_opt rows[] = {
      {.kind = ROAM_OPT_HEADING, .help = "Addresses"},
      {"listen", 0, ROAM_OPT_ADDRESS, "ADDR", "where clients connect; port 0 lets the system choose", &n.o.inside},
      {"server", 0, ROAM_OPT_ADDRESS, "ADDR", "the server behind it", &n.o.server},
      {"public", 0, ROAM_OPT_ADDRESS, "ADDR", "the NAT's public address: what the server sees", &n.o.address},
      {"udp-only", 0, ROAM_OPT_FLAG, NULL, "relay UDP only", &n.udp_only},
      {"tcp-only", 0, ROAM_OPT_FLAG, NULL, "relay TCP only", &n.tcp_only},
      {.kind = ROAM_OPT_HEADING, .help = "Address changes"},
      {"rebind-at", 0, ROAM_OPT_LIST, "TIME[=ADDR]", "forget all mappings and take another address (repeatable)",
       &n.rebind_at},
      {"rebind-to", 0, ROAM_OPT_ADDRESS, "ADDR", "the address for times without one; every second time back to --public",
       &n.rebind_to},
      {.kind = ROAM_OPT_HEADING, .help = "The link"},
      {"delay", 0, ROAM_OPT_DURATION, "TIME", "one way (0)", &n.o.delay_ns, 0, 60 * ROAM_S},
      {"jitter", 0, ROAM_OPT_DURATION, "TIME", "added, uniform between 0 and this (0)", &n.o.jitter_ns, 0, 60 * ROAM_S},
      {"loss", 0, ROAM_OPT_PPM, "SHARE", "of UDP datagrams (0); a relay ends TCP and cannot lose its segments",
       &n.o.loss_ppm, 0, 1000000},
      {"rate", 0, ROAM_OPT_RATE, "SIZE", "bytes per second in each direction (unlimited)", &n.o.rate_bytes_s, 1, 0},
      {.kind = ROAM_OPT_HEADING, .help = "Behaviour (RFC 4787)"},
      {"filtering", 0, ROAM_OPT_STRING, "HOW",
       "endpoint-independent, address-dependent or (default) address-and-port-dependent", &n.filtering},
      {"idle-udp", 0, ROAM_OPT_DURATION, "TIME", "a UDP mapping ends after so long (120s)", &n.o.idle_udp_ns, 1, 0},
      {"idle-tcp", 0, ROAM_OPT_DURATION, "TIME", "a TCP mapping ends after so long (7440s)", &n.o.idle_tcp_ns, 1, 0},
      {"mappings-max", 0, ROAM_OPT_UINT, "N", "mappings at once (1024)", &n.mappings_max, 1, 1048576},
      {"quiet", 'q', ROAM_OPT_FLAG, NULL, "no event lines and no summary", &n.quiet},
  };
  const roam_opts opts = {
      "nat",
      "--listen ADDR --server ADDR --public ADDR [options]",
      "A NAT without root: relays UDP and TCP between clients and one server and changes its public address on command.\n"
      "At a rebind a UDP client's next datagram comes from the new address; a TCP connection's server half is left "
      "hanging\n"
      "and the client's next bytes are answered with a reset.",
      "Lines on stdin, each answered by a line that begins with ok or error:\n"
      "  rebind ADDR, delay TIME [JITTER], loss SHARE, rate SIZE, down, up, status, help, quit\n"
      "Lines on stdout: ready ..., event SECONDS rebound|mapped|reset ..., and the answers. The end of stdin ends "
      "nothing;\n"
      "quit, SIGINT and SIGTERM do, with a summary on stderr.\n\n"
      "Example:\n"
      "  roamqtt nat --listen 127.0.0.1:14568 --server 127.0.0.1:14567 --public 127.0.10.200 \\\n"
      "    --delay 20ms --rebind-at 5s=127.0.10.203 --rebind-at 15s=127.0.10.200",
      rows,
      sizeof rows / sizeof rows[0]};
  int rest, code;
  if (!roam_opts_read(&opts, argc, argv, &rest, &code)) return code;
  if (rest > 1) return roam_tool_usage("nat", "takes options only; '%s' is left over", argv[1]);
  code = settle_options(&n);
  return code ? code : run(&n);
}

/* main.c - finds the command, prints the overview. Knows no option of theirs. */
#include "options.h"

#include <roamqtt/roamqtt.h>

#include <string.h>

static const struct command {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *about;
} commands[] = {
    {"demo", cmd_demo, "the experiment: an address change over TCP and over QUIC, side by side"},
    {"broker", cmd_broker, "an MQTT broker over QUIC, TCP, TLS and WebSocket that follows its clients"},
    {"pub", cmd_pub, "publish messages"},
    {"sub", cmd_sub, "subscribe and print what arrives"},
    {"nat", cmd_nat, "a NAT without root: relays UDP and TCP and changes its address on command"},
    {"report", cmd_report, "table and plot from a recording"},
    {"packet", cmd_packet, "tell what the bytes of MQTT packets say"},
    {"passwd", cmd_passwd, "set a user's password in a file for the broker"},
    {"version", cmd_version, "which roamqtt this is"},
};

#define COMMANDS (sizeof commands / sizeof commands[0])

static int print_overview(FILE *out, int code) {
  fprintf(
      out,
      "Usage: roamqtt COMMAND [options]\nMQTT over QUIC that keeps its session while the network under it changes.\n\n");
  for (size_t i = 0; i < COMMANDS; i++) fprintf(out, "  %-9s%s\n", commands[i].name, commands[i].about);
  fprintf(out, "  %-9s%s\n\nroamqtt COMMAND --help lists a command's options.\n\nExit codes:\n", "help",
          "this text, or with a command's name its options");
#define X(name, number, text) fprintf(out, "  %3d  %s\n", number, text);
  ROAM_EXIT_MAP(X)
#undef X
  return code;
}

static const struct command *find_command(const char *name) {
  for (size_t i = 0; i < COMMANDS; i++)
    if (strcmp(commands[i].name, name) == 0) return &commands[i];
  return NULL;
}

static int complain(const char *name) {
  fprintf(stderr, "roamqtt: unknown command '%s'; roamqtt help lists them\n", name);
  return ROAM_EXIT_USAGE;
}

static int help(int argc, char **argv) {
  if (argc < 3) return print_overview(stdout, ROAM_EXIT_OK);
  const struct command *command = find_command(argv[2]);
  char *words[] = {argv[2], "--help", NULL};
  return command ? command->run(2, words) : complain(argv[2]);
}

int main(int argc, char **argv) {
  if (argc < 2) return print_overview(stderr, ROAM_EXIT_USAGE);
  const char *name = argv[1];
  if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) return help(argc, argv);
  if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) name = "version";
  const struct command *command = find_command(name);
  return command ? command->run(argc - 1, argv + 1) : complain(name);
}

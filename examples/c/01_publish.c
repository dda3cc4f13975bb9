/* 01_publish - connect, publish with QoS 1, leave. Usage: 01_publish URL CA.pem TOPIC TEXT */
#include <roamqtt/roamqtt.h>
#include <stdio.h>
#include <string.h>

static char ca[65536];

static roam_bytes bytes(const char *text) { return (roam_bytes){(const uint8_t *)text, strlen(text)}; }

int main(int argc, char **argv) {
  FILE *file = argc == 5 ? fopen(argv[2], "rb") : NULL;
  if (file == NULL) {
    fprintf(stderr, "usage: 01_publish URL CA.pem TOPIC TEXT\n");
    return 1;
  }
  size_t len = fread(ca, 1, sizeof ca, file);
  fclose(file);

  roam_client_options o;
  roam_client_options_init(&o);
  o.url = argv[1];
  o.tls.ca = (roam_bytes){(uint8_t *)ca, len};
  o.tls.wall_unix_s = roam_wall_unix_s();
  o.reconnect = false;
  roam_client *client = roam_client_new(&o, roam_random_system(), NULL);
  roam_loop *loop = roam_loop_new(NULL);
  if (client == NULL || loop == NULL) {
    fprintf(stderr, "01_publish: %s\n", roam_client_option_error(&o));
    return 1;
  }
  roam_loop_add(loop, roam_client_machine(client), NULL, NULL);
  roam_client_start(client, roam_loop_now(loop));
  roam_client_message m = {.topic = bytes(argv[3]), .payload = bytes(argv[4]), .qos = 1};
  roam_client_publish(client, roam_loop_now(loop), &m, NULL);

  roam_event ev = {0};
  while (ev.kind != ROAM_EV_CLOSED) {
    roam_loop_step(loop, ROAM_NEVER);
    while (roam_client_poll(client, &ev, 1) == 1 && ev.kind != ROAM_EV_CLOSED)
      if (ev.kind == ROAM_EV_PUBLISHED) roam_client_close(client, roam_loop_now(loop), 0);
  }
  if (ev.rc != 0) fprintf(stderr, "01_publish: %s\n", ev.text);
  int status = ev.rc == 0 ? 0 : 2;
  roam_loop_free(loop);
  roam_client_free(client);
  return status;
}

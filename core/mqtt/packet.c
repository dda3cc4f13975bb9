/* packet.c - the table of packets as data, their names, and the two common ways to fault. It reads and writes nothing. */
#include "mqtt/packet.h"

#define CLIENT ROAM_FROM_CLIENT
#define SERVER ROAM_FROM_SERVER
#define BOTH (ROAM_FROM_CLIENT | ROAM_FROM_SERVER)
#define ANY ROAM_REMAINING_MAX
#define PACKET(name, sender, flags, least3, most3, least5, most5)                                                          \
  [ROAM_##name] = {#name, sender, flags, {least3, least5}, {most3, most5}},

static const roam_packet_rule rules[16] = {
#include "mqtt/packet.def"
};

const roam_packet_rule *roam_packet_rule_get(int type) {
  return type >= ROAM_CONNECT && type <= ROAM_AUTH ? &rules[type] : NULL;
}

const char *roam_packet_name(int type) {
  const roam_packet_rule *rule = roam_packet_rule_get(type);
  return rule != NULL ? rule->name : "?";
}

roam_rc roam_fault_set(roam_fault *fault, roam_rc rc, uint8_t reason, const char *text) {
  *fault = (roam_fault){rc, reason, text};
  return rc;
}

roam_rc roam_fault_malformed(roam_fault *fault, const char *text) {
  return roam_fault_set(fault, ROAM_E_MALFORMED, ROAM_REASON_MALFORMED_PACKET, text);
}

roam_rc roam_fault_protocol(roam_fault *fault, const char *text) {
  return roam_fault_set(fault, ROAM_E_PROTOCOL, ROAM_REASON_PROTOCOL_ERROR, text);
}

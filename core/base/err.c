/* err.c - names and texts of error numbers, events and transports, made from the tables in the public headers. Adds
 * nothing to them: a number has one text. */
#include <roamqtt/event.h>

const char *roam_strerror(roam_rc rc) {
  switch (rc) {
    case 0: return "ok";
#define X(name, number, text)                                                                                              \
  case number: return text;
      ROAM_ERROR_MAP(X)
#undef X
    default: return "unknown error";
  }
}

const char *roam_error_name(roam_rc rc) {
  switch (rc) {
    case 0: return "ROAM_OK";
#define X(name, number, text)                                                                                              \
  case number: return "ROAM_E_" #name;
      ROAM_ERROR_MAP(X)
#undef X
    default: return "ROAM_E_UNKNOWN";
  }
}

const char *roam_event_name(int kind) {
  switch (kind) {
#define X(name, number, text)                                                                                              \
  case number: return #name;
    ROAM_EVENT_MAP(X)
#undef X
    default: return "?";
  }
}

const char *roam_transport_name(int kind) {
  switch (kind) {
    case ROAM_TRANSPORT_QUIC: return "quic";
    case ROAM_TRANSPORT_TCP: return "tcp";
    case ROAM_TRANSPORT_TLS: return "tls";
    case ROAM_TRANSPORT_WS: return "ws";
    case ROAM_TRANSPORT_WSS: return "wss";
    default: return "?";
  }
}

/* reason.c - reason codes (section 2.4): their texts, their 3.1.1 return codes, and which of them a packet may carry. */
#include "mqtt/packet.h"

const char *roam_reason_text(int reason) {
  switch (reason) {
#define X(name, number, text)                                                                                              \
  case number: return text;
    ROAM_REASON_MAP(X)
#undef X
    default: return "unknown reason";
  }
}

static bool is_known(uint8_t reason) {
  switch (reason) {
#define X(name, number, text) case number:
    ROAM_REASON_MAP(X)
#undef X
    return true;
    default: return false;
  }
}

uint8_t roam_reason_to_v3(int reason) {
  switch (reason) {
    case ROAM_REASON_SUCCESS: return 0;
    case ROAM_REASON_UNSUPPORTED_VERSION: return 1;
    case ROAM_REASON_CLIENT_ID_NOT_VALID: return 2;
    case ROAM_REASON_BAD_USER_NAME_OR_PASSWORD:
    case ROAM_REASON_BAD_AUTHENTICATION_METHOD: return 4;
    case ROAM_REASON_NOT_AUTHORIZED:
    case ROAM_REASON_BANNED: return 5;
    default: return 3; /* "server unavailable" is the only one left that promises nothing */
  }
}

int roam_reason_from_v3(uint8_t code) {
  static const uint8_t reasons[] = {
      ROAM_REASON_SUCCESS,
      ROAM_REASON_UNSUPPORTED_VERSION,
      ROAM_REASON_CLIENT_ID_NOT_VALID,
      ROAM_REASON_SERVER_UNAVAILABLE,
      ROAM_REASON_BAD_USER_NAME_OR_PASSWORD,
      ROAM_REASON_NOT_AUTHORIZED,
  };
  return code < sizeof reasons ? reasons[code] : -1;
}

bool roam_reason_fits(uint8_t reason, int type) {
  if (!is_known(reason)) {
    return false;
  }
  if (reason >= 0x80) {
    return true;
  }
  switch (type) {
    case ROAM_PUBACK:
    case ROAM_PUBREC: return reason == ROAM_REASON_SUCCESS || reason == ROAM_REASON_NO_MATCHING_SUBSCRIBERS;
    case ROAM_SUBACK: return reason <= ROAM_REASON_GRANTED_QOS_2;
    case ROAM_UNSUBACK: return reason == ROAM_REASON_SUCCESS || reason == ROAM_REASON_NO_SUBSCRIPTION_EXISTED;
    case ROAM_DISCONNECT: return reason == ROAM_REASON_SUCCESS || reason == ROAM_REASON_DISCONNECT_WITH_WILL;
    case ROAM_AUTH:
      return reason == ROAM_REASON_SUCCESS || reason == ROAM_REASON_CONTINUE_AUTHENTICATION ||
             reason == ROAM_REASON_REAUTHENTICATE;
    default: return reason == ROAM_REASON_SUCCESS;
  }
}

#include "chat.h"
extern "C" { 
#include "CShoalEngine.h"
}
int shoal_engine_placeholder(void) { return (int) sizeof(common_chat_msg); }

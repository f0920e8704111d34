#include "CShoalSystem.h"
void shoal_system_placeholder(void) {}

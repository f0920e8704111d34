// libllama as the engine prefix installs it. Imported by ShoalLlama and CShoalEngine alone.
#include <llama.h>
#include <ggml.h>
#include <ggml-backend.h>

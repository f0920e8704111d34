// libllama's calls that may throw or that have no C interface.
#include "CShoalEngine.h"
#include "build-info.h"
#include "guard.h"
#include "llama.h"
#include "log.h"

#include <climits>
#include <cstdio>
#include <map>
#include <mutex>
#include <vector>

namespace {

constexpr size_t kept_error_byte_count_max = 2048;

std::mutex log_mutex;
std::string log_errors;
ggml_log_level log_level = GGML_LOG_LEVEL_INFO;

void log_line(ggml_log_level level, const char * text, void *) {
    std::lock_guard<std::mutex> lock(log_mutex);
    if (level != GGML_LOG_LEVEL_CONT) {
        log_level = level;
    }
    if (log_level < GGML_LOG_LEVEL_WARN) {
        return;
    }
    fputs(text, stderr);
    if (log_level == GGML_LOG_LEVEL_ERROR && log_errors.size() < kept_error_byte_count_max) {
        log_errors += text;
    }
}

}  // namespace

void shoal_log_install(void) {
    llama_log_set(log_line, nullptr);
    common_log_set_verbosity_thold(LOG_LEVEL_WARN);
}

char * shoal_log_take_errors(void) {
    std::lock_guard<std::mutex> lock(log_mutex);
    if (log_errors.empty()) {
        return nullptr;
    }
    std::string errors;
    errors.swap(log_errors);
    for (char & character : errors) {
        character = character == '\n' ? ' ' : character;
    }
    errors.erase(errors.find_last_not_of(' ') + 1);
    return shoal::copied(errors);
}

const char * shoal_llama_build(void) { return llama_build_info(); }

int32_t shoal_decode(
    llama_context * context, int32_t count, const int32_t * tokens, const float * activations,
    const int32_t * positions, const int32_t * sequences, const int8_t * outputs, char ** error) {
    return shoal::guarded<int32_t>(error, INT32_MIN, [&] {
        std::vector<int32_t> one_each(count, 1);
        std::vector<llama_seq_id *> sequence_pointers(count);
        for (int32_t i = 0; i < count; i++) {
            sequence_pointers[i] = const_cast<llama_seq_id *>(sequences + i);
        }
        llama_batch batch = {
            /*.n_tokens =*/ count,
            /*.token    =*/ const_cast<llama_token *>(tokens),
            /*.embd     =*/ const_cast<float *>(activations),
            /*.pos      =*/ const_cast<llama_pos *>(positions),
            /*.n_seq_id =*/ one_each.data(),
            /*.seq_id   =*/ sequence_pointers.data(),
            /*.logits   =*/ const_cast<int8_t *>(outputs),
        };
        return llama_decode(context, batch);
    });
}

// Declared in llama.cpp's src/llama-ext.h, which is not installed.
struct llama_memory_breakdown_data {
    size_t model = 0;
    size_t context = 0;
    size_t compute = 0;
};
using llama_memory_breakdown = std::map<ggml_backend_buffer_type_t, llama_memory_breakdown_data>;
LLAMA_API llama_memory_breakdown llama_get_memory_breakdown(const struct llama_context * context);

shoal_memory shoal_context_memory(const llama_context * context) {
    char * ignored = nullptr;
    shoal_memory memory = shoal::guarded<shoal_memory>(&ignored, shoal_memory{}, [&] {
        shoal_memory sum = {};
        for (const auto & entry : llama_get_memory_breakdown(context)) {
            sum.weight_byte_count += entry.second.model;
            sum.cache_byte_count += entry.second.context;
            sum.compute_byte_count += entry.second.compute;
        }
        return sum;
    });
    free(ignored);
    return memory;
}

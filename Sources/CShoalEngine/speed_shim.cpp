// How fast this machine computes what models are made of, measured without a model.
#include "CShoalEngine.h"
#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpp.h"
#include "ggml-cpu.h"
#include "ggml.h"
#include "guard.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <random>
#include <stdexcept>
#include <vector>

namespace {

using clock_type = std::chrono::steady_clock;

double seconds_since(clock_type::time_point start) {
    return std::chrono::duration<double>(clock_type::now() - start).count();
}

/// Weights that are read for a decode: more than most caches hold, so that memory is measured.
constexpr size_t streamed_byte_count = 48u << 20;
constexpr int64_t row_element_count = 2048;
constexpr int64_t rows_per_matrix = 2048;
/// Columns of a prompt's micro-batch.
constexpr int64_t batch_column_count = 64;
constexpr int repetition_count = 3;
/// Bytes that are ordinary numbers in every type: scales near 6e-4, no subnormals.
constexpr int fill_byte = 0x11;
/// Rows of weights that differ; matrices repeat them.
constexpr int64_t different_row_count = 64;

/// As weights and activations are: with one value everywhere, products of Q4_1 took two fifths less time (AMD EPYC).
std::vector<float> ordinary_numbers(int64_t count) {
    std::mt19937 generator(1);
    std::normal_distribution<float> distribution(0.0f, 0.05f);
    std::vector<float> numbers(static_cast<size_t>(count));
    for (float & number : numbers) number = distribution(generator);
    return numbers;
}

/// A whole matrix of `type`.
std::vector<uint8_t> ordinary_matrix(ggml_type type) {
    const std::vector<float> numbers = ordinary_numbers(different_row_count * row_element_count);
    const size_t row_byte_count = ggml_row_size(type, row_element_count);
    std::vector<uint8_t> rows(row_byte_count * different_row_count);
    ggml_quantize_chunk(type, numbers.data(), rows.data(), 0, different_row_count, row_element_count, nullptr);
    std::vector<uint8_t> matrix;
    matrix.reserve(row_byte_count * rows_per_matrix);
    while (matrix.size() < row_byte_count * rows_per_matrix) matrix.insert(matrix.end(), rows.begin(), rows.end());
    return matrix;
}

struct Device {
    ggml_backend_dev_t device = nullptr;
    ggml_backend_ptr backend;
    /// Where weights go, best first, as libllama chooses.
    std::vector<ggml_backend_buffer_type_t> weight_buffer_types;
};

Device choose_device(int32_t thread_count) {
    Device chosen;
    chosen.device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_GPU);
    if (chosen.device == nullptr) chosen.device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_IGPU);
    const bool is_cpu = chosen.device == nullptr;
    if (is_cpu) chosen.device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (chosen.device == nullptr) throw std::runtime_error("ggml has no device");
    chosen.backend.reset(ggml_backend_dev_init(chosen.device, nullptr));
    if (!chosen.backend) throw std::runtime_error("ggml cannot start its device");
    if (is_cpu) {
        ggml_backend_cpu_set_n_threads(chosen.backend.get(), thread_count);
        ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(chosen.device);
        auto extra = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
            ggml_backend_reg_get_proc_address(registry, "ggml_backend_dev_get_extra_bufts"));
        if (extra != nullptr) {
            ggml_backend_buffer_type_t * type = extra(chosen.device);
            for (; type != nullptr && *type != nullptr; type++) {
                chosen.weight_buffer_types.push_back(*type);
            }
        }
    }
    chosen.weight_buffer_types.push_back(ggml_backend_dev_buffer_type(chosen.device));
    return chosen;
}

ggml_context_ptr make_context(size_t tensor_count) {
    ggml_init_params parameters = {
        /*.mem_size   =*/ tensor_count * ggml_tensor_overhead() + ggml_graph_overhead_custom(tensor_count, false),
        /*.mem_buffer =*/ nullptr,
        /*.no_alloc   =*/ true,
    };
    ggml_context_ptr context(ggml_init(parameters));
    if (!context) throw std::runtime_error("ggml gives no context");
    return context;
}

/// Whether the device multiplies with weights of this type in such a buffer. As libllama's loader asks.
bool supports(const Device & device, ggml_type type, ggml_backend_buffer_type_t buffer_type) {
    ggml_context_ptr context = make_context(8);
    ggml_tensor * weights = ggml_new_tensor_2d(context.get(), type, row_element_count, rows_per_matrix);
    ggml_tensor * columns = ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, row_element_count, batch_column_count);
    ggml_tensor * product = ggml_mul_mat(context.get(), weights, columns);
    ggml_backend_buffer_ptr buffer(ggml_backend_buft_alloc_buffer(buffer_type, 0));
    weights->buffer = buffer.get();
    const bool result = ggml_backend_dev_supports_op(device.device, product);
    weights->buffer = nullptr;
    return result;
}

/// The shortest of several runs of a graph that `build` makes; `input`, if `build` sets it, gets ordinary numbers.
double best_seconds(
    const Device & device, size_t tensor_count,
    const std::function<void(ggml_context *, ggml_cgraph *)> & build, ggml_tensor * const * input = nullptr) {
    ggml_context_ptr context = make_context(tensor_count);
    ggml_cgraph * graph = ggml_new_graph_custom(context.get(), tensor_count, false);
    build(context.get(), graph);
    ggml_backend_buffer_ptr buffer(ggml_backend_alloc_ctx_tensors(context.get(), device.backend.get()));
    if (!buffer) throw std::runtime_error("no memory for the measurement");
    ggml_backend_buffer_clear(buffer.get(), fill_byte);
    if (input != nullptr) {
        const std::vector<float> numbers = ordinary_numbers(ggml_nelements(*input));
        ggml_backend_tensor_set(*input, numbers.data(), 0, numbers.size() * sizeof(float));
    }
    double best = 1e9;
    // The first run only warms up.
    for (int run = 0; run <= repetition_count; run++) {
        const auto start = clock_type::now();
        if (ggml_backend_graph_compute(device.backend.get(), graph) != GGML_STATUS_SUCCESS) {
            throw std::runtime_error("ggml could not compute a graph");
        }
        ggml_backend_synchronize(device.backend.get());
        if (run > 0) best = std::min(best, seconds_since(start));
    }
    return best;
}

/// Products of `matrices` with `column_count` columns each.
double product_seconds(const Device & device, const std::vector<ggml_tensor *> & matrices, int64_t column_count) {
    ggml_tensor * columns = nullptr;
    const auto build = [&](ggml_context * context, ggml_cgraph * graph) {
        columns = ggml_new_tensor_2d(context, GGML_TYPE_F32, row_element_count, column_count);
        for (ggml_tensor * matrix : matrices) {
            ggml_build_forward_expand(graph, ggml_mul_mat(context, matrix, columns));
        }
    };
    return best_seconds(device, 2 * matrices.size() + 8, build, &columns);
}

/// Where weights of a type go; NULL when the device cannot multiply with them.
ggml_backend_buffer_type_t weight_buffer_type(const Device & device, ggml_type type) {
    for (ggml_backend_buffer_type_t buffer_type : device.weight_buffer_types) {
        if (supports(device, type, buffer_type)) return buffer_type;
    }
    return nullptr;
}

bool measure_matrix(const Device & device, ggml_type type, shoal_matrix_speed * speed) {
    ggml_backend_buffer_type_t usable = weight_buffer_type(device, type);
    if (usable == nullptr) return false;
    const size_t matrix_byte_count = ggml_row_size(type, row_element_count) * rows_per_matrix;
    const size_t matrix_count = std::max<size_t>(1, streamed_byte_count / matrix_byte_count);
    ggml_context_ptr context = make_context(matrix_count + 4);
    std::vector<ggml_tensor *> matrices;
    for (size_t i = 0; i < matrix_count; i++) {
        matrices.push_back(ggml_new_tensor_2d(context.get(), type, row_element_count, rows_per_matrix));
    }
    ggml_backend_buffer_ptr buffer(ggml_backend_alloc_ctx_tensors_from_buft(context.get(), usable));
    if (!buffer) return false;
    // Written once, because untouched memory is one page of zeros, and in the layout that the buffer type wants.
    const std::vector<uint8_t> data = ordinary_matrix(type);
    for (ggml_tensor * matrix : matrices) ggml_backend_tensor_set(matrix, data.data(), 0, data.size());

    const double element_count = static_cast<double>(row_element_count * rows_per_matrix);
    const double streamed = product_seconds(device, matrices, 1);
    matrices.resize(1);
    const double one = product_seconds(device, matrices, 1);
    const double batch = product_seconds(device, matrices, batch_column_count);
    snprintf(speed->type, sizeof(speed->type), "%s", ggml_type_name(type));
    speed->seconds_per_byte = streamed / (static_cast<double>(matrix_byte_count) * matrix_count);
    speed->seconds_per_element_and_token = std::max(0.0, batch - one) / (element_count * (batch_column_count - 1));
    return true;
}

/// Attention of `query_count` queries over `cached_count` keys and values, per element.
double attention_seconds(const Device & device, int64_t query_count, int64_t cached_count) {
    constexpr int64_t head_element_count = 64;
    constexpr int64_t head_count = 8;
    constexpr int64_t kv_head_count = 4;
    constexpr size_t layer_count = 4;
    const double seconds = best_seconds(device, 8 * layer_count + 8, [&](ggml_context * context, ggml_cgraph * graph) {
        for (size_t layer = 0; layer < layer_count; layer++) {
            ggml_tensor * queries =
                ggml_new_tensor_3d(context, GGML_TYPE_F32, head_element_count, query_count, head_count);
            ggml_tensor * keys =
                ggml_new_tensor_3d(context, GGML_TYPE_F16, head_element_count, cached_count, kv_head_count);
            ggml_tensor * values =
                ggml_new_tensor_3d(context, GGML_TYPE_F16, head_element_count, cached_count, kv_head_count);
            ggml_tensor * mask = ggml_new_tensor_2d(context, GGML_TYPE_F16, cached_count, query_count);
            ggml_build_forward_expand(
                graph, ggml_flash_attn_ext(context, queries, keys, values, mask, 0.125f, 0.0f, 0.0f));
        }
    });
    const int64_t elements_per_query = layer_count * head_count * 2 * head_element_count * cached_count;
    return seconds / static_cast<double>(elements_per_query * query_count);
}

/// A norm, its weights, a gate and a sum, over rows of a prompt's micro-batch; per element and operation.
double activation_seconds(const Device & device) {
    constexpr int round_count = 4;
    constexpr int operations_per_round = 4;
    const double seconds = best_seconds(device, 64, [&](ggml_context * context, ggml_cgraph * graph) {
        ggml_tensor * rows = ggml_new_tensor_2d(context, GGML_TYPE_F32, row_element_count, batch_column_count);
        ggml_tensor * weights = ggml_new_tensor_1d(context, GGML_TYPE_F32, row_element_count);
        ggml_tensor * current = rows;
        for (int round = 0; round < round_count; round++) {
            current = ggml_mul(context, ggml_rms_norm(context, current, 1e-5f), weights);
            current = ggml_add(context, ggml_silu(context, current), rows);
        }
        ggml_build_forward_expand(graph, current);
    });
    return seconds / (static_cast<double>(row_element_count * batch_column_count) * round_count * operations_per_round);
}

/// What a graph's node costs when it has next to nothing to do.
double operation_seconds(const Device & device) {
    const auto chain = [&](size_t count) {
        return best_seconds(device, count + 16, [&](ggml_context * context, ggml_cgraph * graph) {
            ggml_tensor * first = ggml_new_tensor_1d(context, GGML_TYPE_F32, 32);
            ggml_tensor * current = first;
            for (size_t i = 0; i < count; i++) current = ggml_add(context, current, first);
            ggml_build_forward_expand(graph, current);
        });
    };
    constexpr size_t few = 20;
    constexpr size_t many = 420;
    return std::max(0.0, chain(many) - chain(few)) / (many - few);
}

}  // namespace

bool shoal_measure_speed(int32_t thread_count, double seconds_max, shoal_speed * speed, char ** error) {
    return shoal::guarded<bool>(error, false, [&] {
        const auto start = clock_type::now();
        *speed = {};
        Device device = choose_device(thread_count);
        snprintf(speed->device, sizeof(speed->device), "%s", ggml_backend_dev_description(device.device));
        speed->is_accelerator = ggml_backend_dev_type(device.device) != GGML_BACKEND_DEVICE_TYPE_CPU;
        speed->seconds_per_operation = operation_seconds(device);
        speed->activation_seconds_per_element = activation_seconds(device);
        speed->attention_seconds_per_element = attention_seconds(device, 1, 1024);
        speed->prompt_attention_seconds_per_element = attention_seconds(device, batch_column_count, 512);
        // In the order of how often models have them: what there is no time for is left out.
        const ggml_type types[] = {
            GGML_TYPE_Q4_K, GGML_TYPE_Q6_K, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0, GGML_TYPE_F16, GGML_TYPE_Q5_K,
            GGML_TYPE_Q4_1, GGML_TYPE_Q5_0, GGML_TYPE_IQ4_XS, GGML_TYPE_F32, GGML_TYPE_MXFP4, GGML_TYPE_BF16,
            GGML_TYPE_Q3_K,
        };
        constexpr size_t usual_type_count = 5;
        static_assert(sizeof(types) / sizeof(types[0]) <= SHOAL_MATRIX_SPEED_COUNT_MAX, "every type has a place");
        for (const ggml_type type : types) {
            ggml_backend_buffer_type_t usable = weight_buffer_type(device, type);
            if (usable != nullptr && usable != ggml_backend_dev_buffer_type(device.device)) {
                char * name = speed->repacked_types[speed->repacked_type_count++];
                snprintf(name, sizeof(speed->repacked_types[0]), "%s", ggml_type_name(type));
            }
            const double limit = speed->matrix_count < usual_type_count ? 4 * seconds_max : seconds_max;
            if (speed->matrix_count > 0 && seconds_since(start) > limit) continue;
            if (measure_matrix(device, type, &speed->matrices[speed->matrix_count])) speed->matrix_count++;
        }
        return true;
    });
}

size_t shoal_accelerators(shoal_accelerator * accelerators, size_t count_max) {
    size_t count = 0;
    for (size_t i = 0; i < ggml_backend_dev_count() && count < count_max; i++) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        if (ggml_backend_dev_type(device) != GGML_BACKEND_DEVICE_TYPE_GPU) continue;
        shoal_accelerator * accelerator = &accelerators[count++];
        snprintf(accelerator->name, sizeof(accelerator->name), "%s", ggml_backend_dev_description(device));
        size_t available = 0;
        size_t total = 0;
        ggml_backend_dev_memory(device, &available, &total);
        accelerator->available_byte_count = available;
        accelerator->total_byte_count = total;
    }
    return count;
}

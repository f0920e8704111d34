// What shoal-engine needs of C and C++: a FILE * over a virtual GGUF, and those parts of llama.cpp that have only a C++
// interface or may throw. No exception crosses this header. Texts that come back are UTF-8, allocated with malloc, and
// belong to the caller; every `error` out-parameter is set exactly when the function reports failure.
#ifndef C_SHOAL_ENGINE_H
#define C_SHOAL_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct llama_context;
struct llama_model;
struct llama_vocab;

// MARK: - The virtual file (virtual_file.c)

/// A run of the virtual file's bytes.
typedef struct shoal_extent {
    uint64_t virtual_offset;
    uint64_t byte_count;
    /// Index into the paths; negative means zeros.
    int32_t file_index;
    uint64_t file_offset;
} shoal_extent;

typedef struct shoal_virtual_file shoal_virtual_file;

/// Opens the files and a stream over them. Extents are ascending and do not overlap; bytes between them are zeros.
/// Everything is copied. NULL and `*error` on failure.
shoal_virtual_file * shoal_virtual_file_open(
    const uint8_t * header, size_t header_byte_count, const shoal_extent * extents, size_t extent_count,
    uint64_t byte_count, const char * const * paths, size_t path_count, char ** error);
/// The stream, at the start of the file. Closed by shoal_virtual_file_close.
FILE * shoal_virtual_file_stream(shoal_virtual_file * file);
/// Bytes that came from disk so far, without the header.
uint64_t shoal_virtual_file_bytes_read(const shoal_virtual_file * file);
/// What went wrong while reading, or NULL. Belongs to the file.
const char * shoal_virtual_file_error(const shoal_virtual_file * file);
void shoal_virtual_file_close(shoal_virtual_file * file);

// MARK: - Threads (thread.c)

/// Starts a detached thread of 8 MiB of stack that calls `run(context)`. False when the system gives none.
bool shoal_thread_start(void (* run)(void * context), void * context);

// MARK: - Memory (pages.c)

/// Whether the kernel may back memory that the process touches from now on with huge pages, where it was asked to.
/// A hint: systems without it ignore it.
void shoal_allow_huge_pages(bool are_allowed);

// MARK: - libllama behind a guard (decode_shim.cpp)

/// Sends libllama's and common's log lines of warnings and errors to stderr. Once per process, before any other call.
void shoal_log_install(void);
/// The error lines since the last call, joined; NULL when there were none.
char * shoal_log_take_errors(void);
/// llama.cpp's build, for example "b0-0c1e57098".
const char * shoal_llama_build(void);

/// One call of llama_decode for `count` entries of one sequence each. Either `tokens` or `activations` (count rows) is
/// NULL. Returns llama_decode's value; INT32_MIN and `*error` if it threw.
int32_t shoal_decode(
    struct llama_context * context, int32_t count, const int32_t * tokens, const float * activations,
    const int32_t * positions, const int32_t * sequences, const int8_t * outputs, char ** error);
/// What libllama holds for a context and its model, on all devices.
typedef struct shoal_memory {
    uint64_t weight_byte_count;
    /// The KV cache or recurrent state.
    uint64_t cache_byte_count;
    uint64_t compute_byte_count;
} shoal_memory;

shoal_memory shoal_context_memory(const struct llama_context * context);

// MARK: - Speed (speed_shim.cpp)

#define SHOAL_MATRIX_SPEED_COUNT_MAX 16

/// Multiplying with weights of one type, as libllama lays them out on this machine.
typedef struct shoal_matrix_speed {
    /// ggml's name of the type.
    char type[16];
    double seconds_per_byte;
    double seconds_per_element_and_token;
} shoal_matrix_speed;

/// See NodeSpeed of ShoalCore for the meanings.
typedef struct shoal_speed {
    char device[64];
    bool is_accelerator;
    shoal_matrix_speed matrices[SHOAL_MATRIX_SPEED_COUNT_MAX];
    size_t matrix_count;
    /// Types whose weights are laid out anew: names as in matrices.
    char repacked_types[SHOAL_MATRIX_SPEED_COUNT_MAX][16];
    size_t repacked_type_count;
    double attention_seconds_per_element;
    double prompt_attention_seconds_per_element;
    double activation_seconds_per_element;
    double seconds_per_operation;
} shoal_speed;

/// Measures, without a model, for about `seconds_max`; several times that for the usual types on a busy machine.
/// False and `*error` on failure.
bool shoal_measure_speed(int32_t thread_count, double seconds_max, shoal_speed * speed, char ** error);

/// A GPU with memory of its own.
typedef struct shoal_accelerator {
    char name[64];
    uint64_t total_byte_count;
    uint64_t available_byte_count;
} shoal_accelerator;

/// The number of GPUs, at most `count_max`, that are described.
size_t shoal_accelerators(shoal_accelerator * accelerators, size_t count_max);

// MARK: - Text (text_shim.cpp)

/// The number of tokens, which are put into `*tokens`; negative and `*error` on failure.
int32_t shoal_tokenize(
    const struct llama_vocab * vocabulary, const char * text, int32_t byte_count, bool add_special, bool parse_special,
    int32_t ** tokens, char ** error);

typedef struct shoal_chat shoal_chat;

/// The chat template of a model (vocab_only is enough). NULL and `*error` if it cannot be parsed.
shoal_chat * shoal_chat_create(const struct llama_model * model, char ** error);
/// The conversation as the template writes it, ending with the prompt for the answer. NULL and `*error` on failure.
char * shoal_chat_render(
    const shoal_chat * chat, const char * const * roles, const char * const * contents, size_t count, char ** error);
void shoal_chat_free(shoal_chat * chat);

/// GBNF of a JSON schema. NULL and `*error` on failure.
char * shoal_json_schema_grammar(const char * schema, char ** error);

// MARK: - Sampling (sampler_shim.cpp)

/// Values that the caller has checked: finite, in range, tokens inside the vocabulary.
typedef struct shoal_sampling {
    float temperature;
    int32_t top_k;
    float top_p;
    float min_p;
    float repetition_penalty;
    float frequency_penalty;
    float presence_penalty;
    int32_t penalty_token_count;
    uint32_t seed;
    const int32_t * bias_tokens;
    const float * biases;
    size_t bias_count;
    /// NULL for none.
    const char * grammar;
} shoal_sampling;

typedef struct shoal_sampler shoal_sampler;

/// `vocabulary` outlives the sampler and is NULL only when there is no grammar. NULL and `*error` on failure.
shoal_sampler * shoal_sampler_create(
    const struct llama_vocab * vocabulary, int32_t vocabulary_count, const shoal_sampling * parameters, char ** error);
/// Remembers tokens that were not chosen by this sampler: penalties count them. With `is_output` it goes on as if it
/// had chosen them: the grammar has read them, and a draw of chance is used up for each. False and `*error` on failure.
bool shoal_sampler_accept(
    shoal_sampler * sampler, const int32_t * tokens, size_t count, bool is_output, char ** error);
/// Chooses a token from one row of logits and remembers it. Negative and `*error` on failure.
int32_t shoal_sampler_sample(shoal_sampler * sampler, const float * logits, char ** error);
void shoal_sampler_free(shoal_sampler * sampler);

#ifdef __cplusplus
}
#endif

#endif

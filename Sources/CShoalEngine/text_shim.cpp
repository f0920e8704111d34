// Tokens, chat templates and JSON schemas: llama.cpp's own code, from its common library.
#include "CShoalEngine.h"
#include "chat.h"
#include "guard.h"
#include "json-schema-to-grammar.h"
#include "llama.h"

#include <stdexcept>
#include <vector>

namespace {

// The schema converter recurses; a schema that a person wrote is a few levels deep.
constexpr int schema_nesting_max = 64;

void check_nesting(const char * json) {
    int depth = 0;
    bool in_string = false;
    for (const char * p = json; *p != 0; p++) {
        if (in_string) {
            if (*p == '\\' && p[1] != 0) {
                p++;
            } else if (*p == '"') {
                in_string = false;
            }
            continue;
        }
        in_string = *p == '"';
        depth += *p == '{' || *p == '[' ? 1 : *p == '}' || *p == ']' ? -1 : 0;
        if (depth > schema_nesting_max) {
            throw std::runtime_error("the JSON schema is nested more than 64 levels deep");
        }
    }
}

template <typename Element>
Element * copied_array(const std::vector<Element> & elements, size_t count) {
    auto * copy = static_cast<Element *>(malloc((count + 1) * sizeof(Element)));
    if (copy == nullptr) {
        throw std::bad_alloc();
    }
    memcpy(copy, elements.data(), count * sizeof(Element));
    return copy;
}

}  // namespace

int32_t shoal_tokenize(
    const llama_vocab * vocabulary, const char * text, int32_t byte_count, bool add_special, bool parse_special,
    int32_t ** tokens, char ** error) {
    return shoal::guarded<int32_t>(error, -1, [&] {
        // A token is at least one byte; special tokens come on top.
        std::vector<llama_token> buffer(static_cast<size_t>(byte_count) + 8);
        int32_t capacity = static_cast<int32_t>(buffer.size());
        int32_t count =
            llama_tokenize(vocabulary, text, byte_count, buffer.data(), capacity, add_special, parse_special);
        if (count < 0 && count != INT32_MIN) {
            buffer.resize(static_cast<size_t>(-count));
            count = llama_tokenize(vocabulary, text, byte_count, buffer.data(), -count, add_special, parse_special);
        }
        if (count < 0) {
            throw std::runtime_error("llama_tokenize returned " + std::to_string(count));
        }
        *tokens = copied_array(buffer, static_cast<size_t>(count));
        return count;
    });
}

struct shoal_chat {
    common_chat_templates_ptr templates;
};

shoal_chat * shoal_chat_create(const llama_model * model, char ** error) {
    return shoal::guarded<shoal_chat *>(
        error, nullptr, [&] { return new shoal_chat{common_chat_templates_init(model, "")}; });
}

char * shoal_chat_render(
    const shoal_chat * chat, const char * const * roles, const char * const * contents, size_t count, char ** error) {
    return shoal::guarded<char *>(error, nullptr, [&] {
        common_chat_templates_inputs inputs;
        for (size_t i = 0; i < count; i++) {
            common_chat_msg message;
            message.role = roles[i];
            message.content = contents[i];
            inputs.messages.push_back(message);
        }
        return shoal::copied(common_chat_templates_apply(chat->templates.get(), inputs).prompt);
    });
}

void shoal_chat_free(shoal_chat * chat) { delete chat; }

char * shoal_json_schema_grammar(const char * schema, char ** error) {
    return shoal::guarded<char *>(error, nullptr, [&] {
        check_nesting(schema);
        return shoal::copied(json_schema_to_grammar(common_json::parse(schema), true));
    });
}

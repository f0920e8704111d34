// One sequence's sampler: llama.cpp's samplers in a fixed order. The grammar stands apart from the chain, because
// testing one sampled token against it is cheap and masking the whole vocabulary is not.
#include "CShoalEngine.h"
#include "guard.h"
#include "llama.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <vector>

namespace {

// The grammar parser recurses on parentheses.
constexpr int grammar_nesting_max = 256;

struct sampler_deleter {
    void operator()(llama_sampler * sampler) const { llama_sampler_free(sampler); }
};
using sampler_ptr = std::unique_ptr<llama_sampler, sampler_deleter>;

void add(llama_sampler * chain, llama_sampler * sampler, const char * name) {
    if (sampler == nullptr) {
        throw std::runtime_error(std::string("llama.cpp refused the parameters of the sampler ") + name);
    }
    llama_sampler_chain_add(chain, sampler);
}

void check_nesting(const char * grammar) {
    int depth = 0;
    for (const char * p = grammar; *p != 0; p++) {
        depth += *p == '(' ? 1 : *p == ')' ? -1 : 0;
        if (depth > grammar_nesting_max) {
            throw std::runtime_error("the grammar has more than 256 open parentheses");
        }
    }
}

sampler_ptr make_grammar(const llama_vocab * vocabulary, const char * grammar) {
    if (vocabulary == nullptr) {
        throw std::runtime_error("this model's file has no vocabulary, which a grammar needs");
    }
    check_nesting(grammar);
    sampler_ptr sampler(llama_sampler_init_grammar(vocabulary, grammar, "root"));
    if (sampler == nullptr) {
        char * reason = shoal_log_take_errors();
        std::string message = "llama.cpp cannot parse the grammar";
        if (reason != nullptr) {
            message += std::string(": ") + reason;
            free(reason);
        }
        throw std::runtime_error(message);
    }
    return sampler;
}

sampler_ptr make_chain(int32_t vocabulary_count, const shoal_sampling & p) {
    sampler_ptr chain(llama_sampler_chain_init(llama_sampler_chain_default_params()));
    if (p.bias_count > 0) {
        std::vector<llama_logit_bias> biases;
        for (size_t i = 0; i < p.bias_count; i++) {
            biases.push_back({p.bias_tokens[i], p.biases[i]});
        }
        auto count = static_cast<int32_t>(biases.size());
        add(chain.get(), llama_sampler_init_logit_bias(vocabulary_count, count, biases.data()), "logit_bias");
    }
    if (p.repetition_penalty != 1 || p.frequency_penalty != 0 || p.presence_penalty != 0) {
        add(chain.get(),
            llama_sampler_init_penalties(
                vocabulary_count, p.penalty_token_count, p.repetition_penalty, p.frequency_penalty, p.presence_penalty),
            "penalties");
    }
    if (p.temperature <= 0) {
        add(chain.get(), llama_sampler_init_greedy(), "greedy");
        return chain;
    }
    if (p.top_k > 0) {
        add(chain.get(), llama_sampler_init_top_k(p.top_k), "top_k");
    }
    if (p.min_p > 0) {
        add(chain.get(), llama_sampler_init_min_p(p.min_p, 1), "min_p");
    }
    if (p.top_p < 1) {
        add(chain.get(), llama_sampler_init_top_p(p.top_p, 1), "top_p");
    }
    add(chain.get(), llama_sampler_init_temp(p.temperature), "temperature");
    add(chain.get(), llama_sampler_init_dist(p.seed), "dist");
    return chain;
}

// The first of the largest. Several running maxima, because one would make every comparison wait for the one before.
int32_t most_likely(const float * logits, int32_t count) {
    constexpr int32_t lanes = 16;
    float largest[lanes];
    std::fill(largest, largest + lanes, -INFINITY);
    int32_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        for (int32_t lane = 0; lane < lanes; lane++) {
            largest[lane] = logits[i + lane] > largest[lane] ? logits[i + lane] : largest[lane];
        }
    }
    float maximum = *std::max_element(largest, largest + lanes);
    for (; i < count; i++) {
        maximum = logits[i] > maximum ? logits[i] : maximum;
    }
    const float * found = std::find(logits, logits + count, maximum);
    return found == logits + count ? -1 : static_cast<int32_t>(found - logits);
}

}  // namespace

struct shoal_sampler {
    sampler_ptr chain;
    sampler_ptr grammar;
    std::vector<llama_token_data> candidates;
    int32_t vocabulary_count;
    // Nothing but the likeliest token is asked for, unless it is one of these, which are made less likely.
    bool is_greedy = false;
    std::vector<int32_t> unlikely = {};

    void look_for_shortcut(const shoal_sampling & p) {
        is_greedy = p.temperature <= 0 && p.repetition_penalty == 1 && p.frequency_penalty == 0
            && p.presence_penalty == 0 && p.grammar == nullptr;
        for (size_t i = 0; i < p.bias_count; i++) {
            is_greedy = is_greedy && p.biases[i] <= 0;
            unlikely.push_back(p.bias_tokens[i]);
        }
    }

    llama_token_data_array fill(const float * logits) {
        for (int32_t token = 0; token < vocabulary_count; token++) {
            candidates[token] = {token, logits[token], 0.0f};
        }
        return {candidates.data(), candidates.size(), -1, false};
    }

    llama_token choose(llama_token_data_array & array) {
        llama_sampler_apply(chain.get(), &array);
        if (array.selected < 0 || static_cast<size_t>(array.selected) >= array.size) {
            throw std::runtime_error("the sampler chose no token");
        }
        return array.data[array.selected].id;
    }

    bool allows(llama_token token) const {
        llama_token_data one = {token, 1.0f, 0.0f};
        llama_token_data_array array = {&one, 1, -1, false};
        llama_sampler_apply(grammar.get(), &array);
        return !std::isinf(one.logit);
    }

    void accept(llama_token token, bool is_output) {
        if (token < 0 || token >= vocabulary_count) {
            throw std::runtime_error("a token outside the vocabulary");
        }
        if (is_output && grammar != nullptr) {
            if (!allows(token)) {
                throw std::runtime_error("the grammar does not allow the answer so far");
            }
            llama_sampler_accept(grammar.get(), token);
        }
        llama_sampler_accept(chain.get(), token);
        if (is_output) {
            // A sampler that draws draws once, whatever it chooses from; others do nothing to a single candidate.
            llama_token_data one = {token, 1.0f, 0.0f};
            llama_token_data_array array = {&one, 1, -1, false};
            llama_sampler_apply(llama_sampler_chain_get(chain.get(), llama_sampler_chain_n(chain.get()) - 1), &array);
        }
    }

    llama_token sample(const float * logits) {
        if (is_greedy) {
            // The samplers keep no state then, and copying the whole vocabulary for them costs more than the look.
            const int32_t token = most_likely(logits, vocabulary_count);
            if (token >= 0 && std::find(unlikely.begin(), unlikely.end(), token) == unlikely.end()) {
                return token;
            }
        }
        llama_token_data_array array = fill(logits);
        llama_token token = choose(array);
        if (grammar != nullptr && !allows(token)) {
            array = fill(logits);
            llama_sampler_apply(grammar.get(), &array);
            token = choose(array);
            if (!allows(token)) {
                throw std::runtime_error("the grammar allows no token of this vocabulary here");
            }
        }
        if (grammar != nullptr) {
            llama_sampler_accept(grammar.get(), token);
        }
        llama_sampler_accept(chain.get(), token);
        return token;
    }
};

shoal_sampler * shoal_sampler_create(
    const llama_vocab * vocabulary, int32_t vocabulary_count, const shoal_sampling * parameters, char ** error) {
    return shoal::guarded<shoal_sampler *>(error, nullptr, [&] {
        std::unique_ptr<shoal_sampler> sampler(new shoal_sampler{
            make_chain(vocabulary_count, *parameters), nullptr,
            std::vector<llama_token_data>(static_cast<size_t>(vocabulary_count)), vocabulary_count});
        if (parameters->grammar != nullptr) {
            sampler->grammar = make_grammar(vocabulary, parameters->grammar);
        }
        sampler->look_for_shortcut(*parameters);
        return sampler.release();
    });
}

int32_t shoal_sampler_sample(shoal_sampler * sampler, const float * logits, char ** error) {
    return shoal::guarded<int32_t>(error, -1, [&] { return sampler->sample(logits); });
}

bool shoal_sampler_accept(
    shoal_sampler * sampler, const int32_t * tokens, size_t count, bool is_output, char ** error) {
    return shoal::guarded<bool>(error, false, [&] {
        for (size_t i = 0; i < count; i++) {
            sampler->accept(tokens[i], is_output);
        }
        return true;
    });
}

void shoal_sampler_free(shoal_sampler * sampler) { delete sampler; }

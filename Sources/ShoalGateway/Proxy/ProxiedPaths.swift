/// Which requests may belong to a llama-server. Source: the routes of tools/server/server.cpp.
enum ProxiedPaths {
    /// What follows is a model's name or an instance's id, and then any path of llama-server.
    static let explicitPrefix = "/shoal/v1/servers/"

    /// Paths that the stages engine answers too: the request must name a model of the rpc engine.
    private static let shared: Set<String> = ["/v1/chat/completions", "/v1/completions"]

    /// Paths that belong to llama-server alone. Without a model's name they go to the one that runs, if it is one.
    private static let own: Set<String> = [
        "/completion", "/completions", "/chat/completions", "/v1/chat/completions/control", "/v1/responses",
        "/responses", "/v1/audio/transcriptions", "/audio/transcriptions", "/v1/messages", "/infill", "/embedding",
        "/embeddings", "/v1/embeddings", "/rerank", "/reranking", "/v1/rerank", "/v1/reranking", "/tokenize",
        "/detokenize", "/apply-template", "/chat/completions/input_tokens", "/v1/chat/completions/input_tokens",
        "/responses/input_tokens", "/v1/responses/input_tokens", "/v1/messages/count_tokens", "/lora-adapters",
        "/slots", "/props", "/v1/stream", "/v1/streams/lookup",
    ]

    enum Kind: Equatable {
        /// The model or instance, and the path for its llama-server.
        case explicit(name: String, path: String)
        case own, shared
    }

    /// Nil for what no llama-server gets. `path` is without the query.
    static func kind(of path: String) -> Kind? {
        if path.hasPrefix(explicitPrefix) {
            let rest = path.dropFirst(explicitPrefix.count)
            let end = rest.firstIndex(of: "/") ?? rest.endIndex
            guard let name = percentDecoded(rest[..<end]), !name.isEmpty else { return nil }
            return .explicit(name: name, path: end == rest.endIndex ? "/" : String(rest[end...]))
        }
        if shared.contains(path) { return .shared }
        return own.contains(path) || path.hasPrefix("/slots/") ? .own : nil
    }
}

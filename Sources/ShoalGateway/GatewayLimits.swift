/// Bounds of the HTTP server.
enum GatewayLimits {
    /// Open connections; further ones wait in the listen queue of the operating system.
    static let connectionCountMax = 1024
    /// Answers to one request: `n`, times the prompts of `/v1/completions`.
    static let answerCountMax = 128
    /// A request body that goes to a llama-server: pictures and sound travel in it.
    static let proxiedBodyByteCountMax = 128 << 20
    /// How long a request waits for a lost llama-server to be replaced.
    static let recoveryDurationMax = Duration.seconds(300)
    static let recoveryPollInterval = Duration.milliseconds(100)
    /// How often the cause of a broken answer is asked for.
    static let causePollCount = 10
    /// A llama-server that is there this long after a broken connection was not lost.
    static let sameServerDuration = Duration.seconds(8)
    /// Entries of `logit_bias`.
    static let logitBiasCountMax = 1024
    /// What `/v1/completions` uses when `max_tokens` is absent, as OpenAI documents it.
    static let completionTokenCountDefault = 16
    /// Seconds that a connection may wait for its next request, or for the rest of one.
    static let idleSeconds: Int64 = 300
    /// How much of a refused body is read and thrown away, so that a client that is still sending sees the refusal
    /// instead of a broken connection.
    static let refusedBodyByteCountMax = 32 << 20
}

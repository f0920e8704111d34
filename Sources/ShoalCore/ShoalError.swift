/// What went wrong, in a form that crosses process and network boundaries unchanged.
///
/// `message` is a sentence for a person: what, where, with which value, and what to do. `code` decides what a program
/// does: whether it retries and which HTTP status a client sees. One type serves all layers, because nearly every
/// failure here ends up two processes away from where it began (docs/decisions/0005-one-error-type.md).
package struct ShoalError: Error, Hashable, Sendable, Codable, CustomStringConvertible {
    /// The kind of failure. Extensible: an unknown code from a newer peer is kept and treated as `internal`.
    package struct Code: Hashable, Sendable, Codable, RawRepresentable, CustomStringConvertible {
        package let rawValue: String

        package init(rawValue: String) { self.rawValue = rawValue }

        package init(from decoder: any Decoder) throws {
            rawValue = try decoder.singleValueContainer().decode(String.self)
        }

        package func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            try container.encode(rawValue)
        }

        package var description: String { rawValue }

        /// The request itself is wrong; sending it again cannot help.
        package static let invalidRequest = Code(rawValue: "invalid_request")
        /// No instance serves this model name.
        package static let modelNotFound = Code(rawValue: "model_not_found")
        /// The prompt and the tokens asked for do not fit the context.
        package static let contextOverflow = Code(rawValue: "context_length_exceeded")
        /// Queues are full; try later.
        package static let overloaded = Code(rawValue: "overloaded")
        /// The instance exists but cannot answer now: loading, recovering or failed.
        package static let unavailable = Code(rawValue: "unavailable")
        /// No such instance, node or route.
        package static let notFound = Code(rawValue: "not_found")
        /// The model file is missing or cannot be read.
        package static let fileUnreadable = Code(rawValue: "file_unreadable")
        /// The file is not a GGUF, or is damaged.
        package static let malformedModel = Code(rawValue: "malformed_model")
        /// The model family is not in the recipe table.
        package static let unsupportedFamily = Code(rawValue: "unsupported_family")
        /// A layer assignment that overlaps, leaves a gap, names an unknown node, or cuts where the family forbids it.
        package static let invalidPlacement = Code(rawValue: "invalid_placement")
        /// The nodes cannot hold the model.
        package static let insufficientMemory = Code(rawValue: "insufficient_memory")
        /// Bytes that break the protocol.
        package static let protocolViolation = Code(rawValue: "protocol_violation")
        /// The peer cannot be reached, or the link to it broke.
        package static let linkLost = Code(rawValue: "link_lost")
        /// An engine process died or refused to work.
        package static let engineLost = Code(rawValue: "engine_lost")
        /// A node that the cluster does not, or no longer, accept; or a code that does not let it in.
        package static let notAMember = Code(rawValue: "not_a_member")
        /// The address cannot be used.
        package static let addressUnusable = Code(rawValue: "address_unusable")
        /// Nothing moved for longer than the named limit.
        package static let timedOut = Code(rawValue: "timed_out")
        /// The caller gave up.
        package static let cancelled = Code(rawValue: "cancelled")
        /// The command or the wish is for another leader: follow the newer term.
        package static let staleTerm = Code(rawValue: "stale_term")
        /// Our bug.
        package static let `internal` = Code(rawValue: "internal")

        /// Whether an instance that failed so may do better with a new plan, or in a while. Everything else (a wrong
        /// file, a crash loop, a placement that cannot be) fails again until somebody changes something.
        package var mayHealElsewhere: Bool {
            let codes: [Code] = [
                .linkLost, .timedOut, .insufficientMemory, .unavailable, .overloaded, .cancelled, .staleTerm,
            ]
            return codes.contains(self)
        }
    }

    package let code: Code
    package let message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { message }

    /// The same failure with what was being done in front: "loading stage 1 on node b: …".
    package func during(_ activity: String) -> ShoalError { ShoalError(code, "\(activity): \(message)") }
}

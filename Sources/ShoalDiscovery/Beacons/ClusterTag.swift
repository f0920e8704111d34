/// Tells beacons of one cluster from those of another, and tells a stranger nothing else: the first 8 bytes of a hash
/// that the cluster's key determines. Whoever knows a tag can be ignored, never admitted.
package struct ClusterTag: Hashable, Sendable, CustomStringConvertible {
    package static let byteCount = 8

    package let rawValue: UInt64

    package init(rawValue: UInt64) { self.rawValue = rawValue }

    /// The first 8 bytes of a digest, big-endian. Nil when there are fewer.
    package init?(digest: some Sequence<UInt8>) {
        let bytes = Array(digest.prefix(Self.byteCount))
        guard bytes.count == Self.byteCount else { return nil }
        rawValue = bytes.reduce(0) { $0 << 8 | UInt64($1) }
    }

    package var description: String {
        let digits = String(rawValue, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

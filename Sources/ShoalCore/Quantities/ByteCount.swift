/// A number of bytes; never negative.
package struct ByteCount: Hashable, Sendable, Comparable, CustomStringConvertible {
    package let rawValue: Int

    /// Traps if `rawValue` is negative: a negative size is our bug, so foreign sizes are checked before they come here.
    package init(_ rawValue: Int) {
        precondition(rawValue >= 0, "a byte count cannot be negative")
        self.rawValue = rawValue
    }

    package static let zero = ByteCount(0)

    /// Reads "80MiB", "1.5 GiB", "500MB", "4096" and the like: binary and decimal units, bytes without one.
    package init?(parsing text: String) {
        let compact = text.filter { !$0.isWhitespace }
        let number = compact.prefix { $0.isNumber || $0 == "." }
        let unit = compact.dropFirst(number.count).lowercased()
        guard let value = Double(number), let factor = ByteCount.factors[unit] else { return nil }
        let bytes = value * factor
        guard bytes.isFinite, bytes >= 0, bytes < 0x1p62 else { return nil }
        rawValue = Int(bytes)
    }

    /// In MiB with one decimal below 1 GiB, in GiB above.
    package var description: String {
        let mebibytes = Double(rawValue) / 1_048_576
        return mebibytes < 1024 ? "\(oneDecimal(mebibytes)) MiB" : "\(oneDecimal(mebibytes / 1024)) GiB"
    }

    package var mebibytes: Double { Double(rawValue) / 1_048_576 }

    package static func < (left: ByteCount, right: ByteCount) -> Bool { left.rawValue < right.rawValue }
    /// Sizes come from other nodes too, so a sum that does not fit stops at the largest number.
    package static func + (left: ByteCount, right: ByteCount) -> ByteCount {
        let (sum, overflows) = left.rawValue.addingReportingOverflow(right.rawValue)
        return ByteCount(overflows ? .max : sum)
    }
    package static func += (left: inout ByteCount, right: ByteCount) { left = left + right }
    /// `right` is not negative. Stops at the largest number, too.
    package static func * (left: ByteCount, right: Int) -> ByteCount {
        let (product, overflows) = left.rawValue.multipliedReportingOverflow(by: right)
        return ByteCount(overflows ? .max : product)
    }

    /// `self - other`, or zero when `other` is larger.
    package func minus(_ other: ByteCount) -> ByteCount { ByteCount(max(0, rawValue - other.rawValue)) }

    private static let factors: [String: Double] = [
        "": 1, "b": 1, "k": 1024, "kib": 1024, "kb": 1000, "m": 1_048_576, "mib": 1_048_576, "mb": 1_000_000,
        "g": 1_073_741_824, "gib": 1_073_741_824, "gb": 1_000_000_000, "t": 0x1p40, "tib": 0x1p40, "tb": 1e12,
    ]
}

extension ByteCount: Codable {
    package init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer().decode(Int.self)
        guard value >= 0 else {
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: "a byte count cannot be negative"))
        }
        rawValue = value
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rawValue)
    }
}

/// `value` with one decimal, without Foundation.
package func oneDecimal(_ value: Double) -> String {
    guard value.isFinite, abs(value) < 1e15 else { return "\(value)" }
    let tenths = (value * 10).rounded()
    let whole = Int(tenths / 10)
    let sign = tenths < 0 && whole == 0 ? "-" : ""
    return "\(sign)\(whole).\(abs(Int(tenths) % 10))"
}

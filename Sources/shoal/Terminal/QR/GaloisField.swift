/// Arithmetic in GF(256) with the polynomial of QR codes, and Reed-Solomon codes over it. Source: ISO/IEC 18004, 7.5.
enum GaloisField {
    private static let polynomial = 0x11D

    static func multiply(_ left: UInt8, _ right: UInt8) -> UInt8 {
        var product = 0
        for bit in (0..<8).reversed() {
            product = product << 1 ^ (product >> 7 & 1) * polynomial
            product ^= Int(right >> bit & 1) * Int(left)
        }
        return UInt8(truncatingIfNeeded: product)
    }

    /// The generator polynomial's coefficients, highest first, without the leading one.
    static func generator(_ count: Int) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: count - 1) + [1]
        var root: UInt8 = 1
        for _ in 0..<count {
            for index in result.indices {
                result[index] = multiply(result[index], root)
                if index + 1 < count { result[index] ^= result[index + 1] }
            }
            root = multiply(root, 2)
        }
        return result
    }

    /// The error correction bytes of `data`.
    static func remainder(_ data: some Sequence<UInt8>, generator: [UInt8]) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: generator.count)
        for byte in data {
            let factor = byte ^ result.removeFirst()
            result.append(0)
            for index in result.indices { result[index] ^= multiply(generator[index], factor) }
        }
        return result
    }
}

internal import CLlama
internal import CShoalEngine
package import ShoalCore

/// Measures how fast this machine computes what models are made of, without a model.
package enum SpeedMeasurement {
    /// Rarer weight types are left out when this is over.
    private static let secondsMax = 1.5
    private static let acceleratorCountMax = 16
    private static let threadCountMax = 512

    /// Takes a second or two of the calling thread and of `threadCount - 1` others.
    package static func run(threadCount: Int) throws(ShoalError) -> NodeSpeed {
        LlamaLibrary.start()
        guard (1...threadCountMax).contains(threadCount) else {
            throw ShoalError(.invalidRequest, "\(threadCount) threads; allowed are 1 to \(threadCountMax)")
        }
        var measured = shoal_speed()
        var error: UnsafeMutablePointer<CChar>?
        guard shoal_measure_speed(Int32(threadCount), secondsMax, &measured, &error) else {
            throw ShoalError(
                .internal, "the speed of this machine could not be measured: \(LlamaLibrary.taken(error) ?? "")")
        }
        let matrices = matrices(of: measured)
        var speed = NodeSpeed(
            engineBuild: LlamaLibrary.build, device: text(of: measured.device), threadCount: threadCount,
            matrices: matrices, attentionSecondsPerElement: measured.attention_seconds_per_element,
            promptAttentionSecondsPerElement: measured.prompt_attention_seconds_per_element,
            activationSecondsPerElement: measured.activation_seconds_per_element,
            secondsPerOperation: measured.seconds_per_operation,
            memoryBytesPerSecond: 1 / (matrices.values.map(\.secondsPerByte).filter { $0 > 0 }.min() ?? 1))
        speed.repackedTypes = repackedTypes(of: measured)
        speed.accelerators = accelerators()
        return speed
    }

    private static func matrices(of measured: shoal_speed) -> [String: NodeSpeed.Matrix] {
        var result: [String: NodeSpeed.Matrix] = [:]
        withUnsafeBytes(of: measured.matrices) { bytes in
            for matrix in bytes.bindMemory(to: shoal_matrix_speed.self).prefix(measured.matrix_count) {
                result[text(of: matrix.type)] = NodeSpeed.Matrix(
                    secondsPerByte: matrix.seconds_per_byte,
                    secondsPerElementAndToken: matrix.seconds_per_element_and_token)
            }
        }
        return result
    }

    private static func repackedTypes(of measured: shoal_speed) -> [String] {
        let size = MemoryLayout.size(ofValue: measured.repacked_types) / Int(SHOAL_MATRIX_SPEED_COUNT_MAX)
        return withUnsafeBytes(of: measured.repacked_types) { bytes in
            (0..<measured.repacked_type_count).map { index in
                String(decoding: bytes[index * size..<(index + 1) * size].prefix { $0 != 0 }, as: UTF8.self)
            }
        }
    }

    private static func accelerators() -> [NodeSpeed.Accelerator] {
        var found = [shoal_accelerator](repeating: shoal_accelerator(), count: acceleratorCountMax)
        let count = shoal_accelerators(&found, found.count)
        return found.prefix(count).map {
            NodeSpeed.Accelerator(
                name: text(of: $0.name), memoryTotal: ByteCount(Int(clamping: $0.total_byte_count)),
                memoryAvailable: ByteCount(Int(clamping: $0.available_byte_count)))
        }
    }

    /// Of a C array of characters, up to its zero.
    private static func text<Characters>(of characters: Characters) -> String {
        withUnsafeBytes(of: characters) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}

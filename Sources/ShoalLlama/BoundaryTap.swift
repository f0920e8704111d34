internal import CLlama

#if canImport(Darwin)
    internal import Darwin
#elseif canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Android)
    internal import Android
#else
    #error("a C library is needed")
#endif

/// Takes the residual after a stage's last layer out of libllama's graph, and stops the graph there.
///
/// libllama asks for every tensor whether it is wanted, and hands it out when it is computed; returning false then
/// skips what is left (the output norm and matrix, which a stage that is not last does not need).
final class BoundaryTap {
    private let name: String
    /// `name` with its final zero: libllama asks about a thousand tensors per token.
    private let nameBytes: [CChar]
    /// Rows of the last decode, and how many floats they are.
    private(set) var rows: [Float] = []
    /// Set when the tensor is not what the recipe promises.
    private(set) var problem: String?

    init(name: String) {
        self.name = name
        nameBytes = Array(name.utf8CString)
    }

    func clear() {
        rows.removeAll(keepingCapacity: true)
        problem = nil
    }

    func install(in parameters: inout llama_context_params) {
        parameters.cb_eval_user_data = Unmanaged.passUnretained(self).toOpaque()
        parameters.cb_eval = { tensor, isQuestion, context in
            guard let tensor, let context else { return false }
            return Unmanaged<BoundaryTap>.fromOpaque(context).takeUnretainedValue().visit(tensor, isQuestion)
        }
    }

    private func visit(_ tensor: UnsafeMutablePointer<ggml_tensor>, _ isQuestion: Bool) -> Bool {
        let isBoundary = strcmp(nameBytes, ggml_get_name(tensor)) == 0
        guard isBoundary, !isQuestion else { return isQuestion ? isBoundary : true }
        take(tensor)
        return false
    }

    private func take(_ tensor: UnsafeMutablePointer<ggml_tensor>) {
        guard tensor.pointee.type == GGML_TYPE_F32, ggml_is_contiguous(tensor) else {
            problem = "\(name) is not a contiguous tensor of f32"
            return
        }
        let start = rows.count
        let count = Int(ggml_nelements(tensor))
        rows.append(contentsOf: repeatElement(0, count: count))
        rows.withUnsafeMutableBytes { bytes in
            let destination = bytes.baseAddress.map { $0 + start * MemoryLayout<Float>.stride }
            ggml_backend_tensor_get(tensor, destination, 0, count * MemoryLayout<Float>.stride)
        }
    }
}

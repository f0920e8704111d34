import ShoalCore
import Testing

@testable import ShoalLinks
@testable import ShoalTrust

@Suite("Between TLS and a link's use")
struct LinkOpeningTests {
    private let request = AdmissionRequest(method: .invite(id: "00"), nodeName: "new", nonce: "", proof: "")

    @Test("a listener that let a joiner in expects no more of it, and everybody else to say hello")
    func joined() {
        var opening = LinkOpening(.listen)
        _ = opening.secured(peer: .random(), isMember: false, pending: nil)
        _ = opening.received(.request(request))
        #expect(!opening.hasGranted)
        _ = opening.judged(.grant(AdmissionGrant(nodeName: "old", proof: "", clusterKey: nil, records: [])))
        #expect(opening.hasGranted)

        var refused = LinkOpening(.listen)
        _ = refused.secured(peer: .random(), isMember: false, pending: nil)
        _ = refused.received(.request(request))
        _ = refused.judged(.refuse(ShoalError(.notAMember, "used")))
        #expect(!refused.hasGranted)
    }
}

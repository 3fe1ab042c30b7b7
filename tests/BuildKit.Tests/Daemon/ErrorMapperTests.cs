using BuildKit.Daemon.Errors;
using BuildKit.Protocol.Grpc;
using BuildKit.Solver;

namespace BuildKit.Tests.Daemon;

public sealed class ErrorMapperTests
{
    [Fact]
    public void A_build_id_that_is_in_use_is_an_error_without_a_code_of_its_own()
    {
        var status = ErrorMapper.Map(new JobExistsException("x"));

        Assert.Equal((StatusCode.Unknown, "job ID x exists"), (status.Code, status.Message));
    }
}

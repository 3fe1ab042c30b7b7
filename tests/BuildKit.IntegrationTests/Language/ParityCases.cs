using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.Language;

/// <summary>A Dockerfile and the flags it is built with.</summary>
internal sealed record ParityCase(string Name, string Dockerfile, params string[] Arguments)
{
    /// <summary>Paths of the image where the Docker daemon, being older, is known to differ, and why.</summary>
    public IReadOnlyDictionary<string, string> Differs { get; init; } = new Dictionary<string, string>(StringComparer.Ordinal);
}

/// <summary>Dockerfiles with every instruction, over the context of <see cref="LanguageFixture"/>.</summary>
internal static class ParityCases
{
    /// <summary>Dockerfiles that an older Docker daemon understands as well.</summary>
    public static readonly IReadOnlyList<ParityCase> Classic =
    [
        new("copy", """
            FROM @BASE@
            COPY a.txt /one/
            COPY a.txt b.txt /two/
            COPY dir /three
            COPY dir/ /four/
            COPY ["sp ace.txt", "/sp ace/"]
            COPY *.txt /wild/
            COPY d?r /q/
            COPY dir/*/deep.txt /deep/
            COPY [[]x].txt /brackets/
            COPY . /all
            COPY a.txt /renamed
            COPY emptydir /emptydir
            COPY exec.sh ro.txt suid /modes/
            COPY a.txt hard.txt /linked/
            COPY nothing* a.txt /optional/
            COPY dir/. /dot/
            COPY ./dir/./sub/../one.txt /cleaned/
            """),
        new("copy-workdir", """
            FROM @BASE@
            WORKDIR /w/x
            COPY a.txt .
            COPY a.txt rel/
            COPY a.txt new
            COPY dir ./
            COPY b.txt ../up/
            COPY b.txt /abs
            WORKDIR sub
            COPY b.txt ./
            WORKDIR /w/x
            """),
        new("copy-owner", """
            FROM @BASE@
            COPY --chown=1000:1001 a.txt /n/
            COPY --chown=app dir /name
            COPY --chown=app:staff a.txt /names/
            COPY --chown=5 a.txt /uid/
            COPY --chown=root:staff a.txt /mixed/
            COPY --chown=app:5 a.txt /mixed2/
            ARG WHO=app
            COPY --chown=$WHO a.txt /variable/
            """),
        new("copy-mode", """
            FROM @BASE@
            COPY --chmod=600 a.txt /f
            COPY --chmod=0755 a.txt /g
            COPY --chmod=4711 a.txt /suid
            COPY --chmod=700 dir /d
            COPY --chmod=640 --chown=app:staff dir/one.txt /both/
            """) { Differs = Known(("/suid", "the bits above 0777 were dropped")) },
        new("copy-links", """
            FROM @BASE@
            COPY link /l
            COPY dlink /dl
            COPY dlink/ /dls/
            COPY dir/up /up
            COPY dir /d
            RUN ln -s /d /via && ln -s nowhere /dead && mkdir /real
            COPY a.txt /via/through-link
            COPY dir2 /via/
            COPY abs /abs/
            """),
        new("copy-replace", """
            FROM @BASE@
            RUN mkdir -p /t/sub /t/keep && echo old > /t/one.txt && echo old > /t/sub/x && ln -s one.txt /t/sym && chmod 700 /t/sub && chown 1:2 /t/sub
            COPY dir /t
            COPY b.txt /t/sym
            COPY a.txt /t/keep/
            COPY dir2/one.txt /t/one.txt
            """),
        new("copy-stages", """
            FROM @BASE@ AS first
            RUN mkdir -p /x/y && echo 1 > /x/y/f && ln -s y /x/link && ln /x/y/f /x/hard && mkfifo /x/fifo 2>/dev/null; chown -R 1000:1001 /x; chmod 1777 /x/y; touch -d @1000000000 /x/y/f /x/y
            FROM first AS second
            RUN echo 2 > /x/second && rm /x/hard
            FROM @BASE@
            COPY --from=0 /x /zero/
            COPY --from=first /x/y/f /x/link /named/
            COPY --from=SECOND /x /upper
            COPY --from=@BASE@ /etc/passwd /image/
            COPY --from=first --chown=5:6 /x /chowned
            COPY --from=1 /x/* /wild/
            """) { Differs = Known(("/zero/fifo", "pipes were not copied"), ("/upper/fifo", "pipes were not copied"), ("/chowned/fifo", "pipes were not copied"), ("/wild/fifo", "pipes were not copied")) },
        new("add-archives", """
            FROM @BASE@
            ADD t.tar /tar/
            ADD t.tgz /gz
            ADD t.tar.bz2 /bz2/
            ADD t.tar.xz /xz/
            ADD not-an-archive.tar /plain/
            ADD --chown=9:9 t.tar /owned/
            ADD a.txt t.tar /several/
            ADD dir /dir/
            COPY t.tar /copied/
            """),
        new("run-layers", """
            FROM @BASE@
            RUN mkdir /d && echo 1 > /d/a && echo 2 > /d/b && ln -s a /d/s && ln /d/a /d/h && chmod 4755 /d/b && touch -d @1000000000 /d/a
            RUN rm /d/a && mv /d/b /d/c
            RUN rm -r /d && mkdir /d && echo new > /d/new
            RUN rm -r /d && echo file > /d
            RUN rm /d && mkdir -p /d/deep/er && chown 1:2 /d/deep
            RUN chmod 711 /d/deep && rm -r /d/deep/er
            RUN cp /bin/busybox /bin/other && rm /bin/other
            RUN true
            RUN echo x >> /etc/passwd
            RUN rm -rf /home && ln -s /tmp /home
            """),
        new("run-forms", """
            FROM @BASE@
            RUN echo shell $((1 + 1)) > /shell
            RUN ["/bin/sh", "-c", "echo exec > /exec"]
            RUN ["touch", "/with space", "$HOME"]
            SHELL ["/bin/sh", "-x", "-c"]
            RUN echo "x is $-" > /flags
            RUN echo a \
                # a comment between
                b \

                c > /continued
            RUN echo "quotes ' and \" $HOME \$HOME" > /quotes
            RUN set -e; false || echo or > /or
            """),
        new("run-world", """
            FROM @BASE@
            ENV A=1 B="two words"
            RUN env | grep -v -e HOSTNAME -e OTEL -e TRACE | sort > /env; pwd > /pwd; id > /id; umask > /umask; cat /proc/self/cgroup | wc -l | grep -c . > /dev/null; echo $0 >> /env
            RUN ls -la /dev | grep -c null > /null; stat -c '%a %u:%g' /etc/hosts /etc/resolv.conf > /etcfiles
            USER app
            RUN id > /tmp/id; env | grep -v -e HOSTNAME -e OTEL -e TRACE | sort > /tmp/env; touch /tmp/mine
            USER 1000:1002
            RUN id > /tmp/id2
            USER 12345
            RUN id > /tmp/id3; echo ~ >> /tmp/id3
            USER app:extra
            RUN id > /tmp/id4
            WORKDIR /made/by/user
            RUN stat -c '%u:%g' . > /tmp/owner
            """) { Differs = Known(("/id", "the group itself is among the supplementary groups only since 0.9"), ("/tmp/id", "the group itself is among the supplementary groups only since 0.9"), ("/tmp/id2", "the group itself is among the supplementary groups only since 0.9"), ("/tmp/id3", "the group itself is among the supplementary groups only since 0.9"), ("/tmp/id4", "the group itself is among the supplementary groups only since 0.9")) },
        new("run-mounts", """
            FROM @BASE@ AS other
            RUN echo other > /file
            FROM @BASE@
            RUN --mount=type=bind,target=/ctx cp /ctx/a.txt /bound && ls /ctx/dir > /listing
            RUN --mount=type=bind,source=dir,target=/d,rw echo w > /d/written && cp /d/one.txt /from-dir
            RUN --mount=type=bind,from=other,source=/file,target=/f cat /f > /from-stage
            RUN --mount=type=cache,target=/cache echo c > /cache/f && echo cached > /did
            RUN --mount=type=tmpfs,target=/mem echo m > /mem/f; grep -c ' /mem tmpfs' /proc/mounts > /mem-mounted
            RUN --mount=type=bind,from=@BASE@,source=/etc,target=/e cat /e/group > /group
            RUN --mount=type=secret,id=s cat /run/secrets/s > /secret-was; stat -c '%a' /run/secrets/s >> /secret-was
            RUN --mount=type=secret,id=s,target=/etc/where/sec,mode=0444,uid=3,gid=4 stat -c '%a %u:%g' /etc/where/sec > /secret-as
            RUN test ! -e /ctx/a.txt; ls -d /ctx /d /f /cache /mem /e /run /etc/where > /left 2>&1; true
            """, "--secret", "id=s,env=PARITY_SECRET") { Differs = Known(("/ctx", "directories of mount points stayed"), ("/d", "directories of mount points stayed"), ("/f", "directories of mount points stayed"), ("/cache", "directories of mount points stayed"), ("/mem", "directories of mount points stayed"), ("/e", "directories of mount points stayed"), ("/run", "directories of mount points stayed"), ("/left", "directories of mount points stayed"), ("/etc/where", "directories of mount points stayed")) },
        new("env-arg", """
            ARG GLOBAL=g
            ARG TAG=latest
            FROM @BASE@ AS one
            ARG GLOBAL
            ARG UNSET
            ARG DEF=default
            ARG PASSED=default
            ENV A=$DEF B=${UNSET:-fallback} C="$PASSED with spaces" D='$DEF' E=\$DEF
            ENV A=new OLD=$A
            ENV legacy value with  spaces
            RUN echo "$GLOBAL|$UNSET|$DEF|$PASSED|$A|$B|$C|$D|$E|$OLD|$legacy" > /out
            ARG DEF=again
            RUN echo $DEF > /out2
            ENV DEF=env
            ARG DEF=ignored
            RUN echo $DEF > /out3
            ARG TARGETPLATFORM
            ARG TARGETARCH
            ARG BUILDOS
            RUN echo $TARGETPLATFORM $TARGETARCH $BUILDOS > /out4
            FROM one
            RUN env | grep -v -e HOSTNAME -e OTEL -e TRACE | sort > /env2
            """, "--opt", "build-arg:PASSED=from outside", "--opt", "build-arg:GLOBAL=other", "--opt", "build-arg:NOBODY=asks"),
        new("metadata", """
            FROM @BASE@
            MAINTAINER Some Body <s@example.com>
            LABEL a=b "with space"="v 1" multi="line \
            two"
            LABEL legacy style label
            EXPOSE 80 443/tcp 53/udp 8000-8002
            VOLUME /v1 /v2
            VOLUME ["/v3", "/v 4"]
            USER app
            WORKDIR /wd
            STOPSIGNAL SIGTERM
            SHELL ["/bin/sh", "-e", "-c"]
            CMD echo cmd
            ENTRYPOINT ["/bin/sh", "-c"]
            ENV X=1
            ENV X=2 Y=$X
            """),
        new("cmd-shell", "FROM @BASE@\nCMD first\nCMD second $X\nENTRYPOINT shell form\n"),
        new("cmd-exec", "FROM @BASE@\nENTRYPOINT [\"e\"]\nCMD [\"a\", \"b c\"]\n"),
        new("cmd-inherited", "FROM @TRIGGERING@\nENTRYPOINT [\"e\"]\n") { Differs = Known(("/etc", "directories of mount points stayed")) },
        new("cmd-empty", "FROM @BASE@\nCMD [\"x\"]\nENTRYPOINT []\nCMD []\n"),
        new("healthcheck", "FROM @BASE@\nHEALTHCHECK --interval=5m --timeout=3s --start-period=1s --retries=3 CMD curl -f http://localhost/ || exit 1\n"),
        new("healthcheck-exec", "FROM @BASE@\nHEALTHCHECK --interval=90s CMD [\"a\", \"b\"]\n"),
        new("healthcheck-none", "FROM @TRIGGERING@\nHEALTHCHECK NONE\n") { Differs = Known(("/etc", "directories of mount points stayed")) },
        new("onbuild-image", """
            FROM @TRIGGERING@
            ARG TRIGGER_ARG
            RUN cat /triggered/a.txt > /tmp/copied
            """, "--opt", "build-arg:TRIGGER_ARG=x") { Differs = Known(("/etc", "directories of mount points stayed")) },
        new("onbuild-stage", """
            FROM @BASE@ AS parent
            ONBUILD COPY a.txt /child/
            ONBUILD RUN echo triggered > /child/ran
            ONBUILD ENV CHILD=1
            ONBUILD WORKDIR /child
            RUN test ! -e /child
            FROM parent AS child
            RUN cat /child/ran > /seen
            FROM child
            ONBUILD LABEL grand=child
            """),
        new("stages-pruned", """
            FROM @BASE@ AS unused
            RUN exit 1
            FROM @BASE@ AS a
            RUN echo a > /a
            FROM a AS b
            RUN echo b > /b
            FROM b AS c
            RUN exit 1
            """, "--opt", "target=b"),
        new("from-arg", "ARG IMG=@BASE@\nARG EMPTY\nFROM ${IMG}${EMPTY:+x} AS s\nRUN echo 1 > /s\nFROM ${NOPE:-s}\nRUN cat /s > /t\n"),
        new("scratch", "FROM scratch\nCOPY a.txt /\nCOPY dir /d/\nADD t.tar /\nWORKDIR /w\nENV A=1\nCMD [\"/a\"]\n"),
        new("scratch-empty-cmd", "FROM scratch\nCOPY a.txt /\nLABEL x=y\n"),
        new("escape", "# escape=`\nFROM @BASE@\nRUN echo a `\n  b > /out\nCOPY a.txt c:\\dir\\\nENV P=C:\\x Q=`$P\nRUN echo $P $Q >> /out\n"),
        new("proxies", """
            FROM @BASE@
            RUN env | grep -i proxy | sort > /proxies
            """, "--opt", "build-arg:HTTP_PROXY=http://p:1", "--opt", "build-arg:no_proxy=localhost"),
        new("proxy-declared", "FROM @BASE@\nARG HTTP_PROXY\nRUN env | grep -i proxy | sort > /proxies\n", "--opt", "build-arg:HTTP_PROXY=http://p:1"),
        new("labels-option", "FROM @BASE@\nLABEL a=file b=file\n", "--opt", "label:b=option", "--opt", "label:c=option"),
        new("extra-hosts", "FROM @BASE@\nRUN grep -c 'extra.example' /etc/hosts > /hosts; hostname > /h\n", "--opt", "add-hosts=extra.example=10.1.2.3"),
        new("workdir-relative", "FROM @BASE@\nWORKDIR a\nWORKDIR b/../c\nWORKDIR /x/../y/\nRUN pwd > /pwd\n"),
        new("user-workdir", "FROM @BASE@\nUSER app:staff\nWORKDIR /mine/deep\nCOPY a.txt .\nRUN id > out\n") { Differs = Known(("/mine/deep/out", "the group itself is among the supplementary groups only since 0.9")) },
        new("volume-then-change", "FROM @BASE@\nRUN mkdir /v && echo 1 > /v/f\nVOLUME /v\nRUN echo 2 > /v/f\n"),
        new("cased", "from @BASE@ as X\nrun echo 1 > /x\nFrom x\nCopy --from=X /x /y\nlabel A=B\n"),
        new("run-xattrs", """
            FROM @BASE@ AS first
            ADD t.tar /x/
            RUN mv /x/top/attr /moved
            FROM @BASE@
            COPY --from=first /moved /x/top/file /again/
            COPY --from=first /x /all/
            """) { Differs = Known(("/all/top/fifo", "pipes were not copied")) },
    ];

    private static Dictionary<string, string> Known(params (string Path, string Why)[] differences) => differences.ToDictionary(d => d.Path, d => d.Why, StringComparer.Ordinal);

    /// <summary>Dockerfiles that need the language of today.</summary>
    public static readonly IReadOnlyList<ParityCase> Newer =
    [
        new("heredoc-copy", """
            FROM @BASE@
            ARG NAME=world
            COPY <<EOF /one
            hello $NAME ${NAME:-x} \$NAME \\ "quoted" 'single' `tick`
              indented
            EOF
            COPY <<'EOF' /two
            hello $NAME \$NAME
            EOF
            COPY <<-EOF /three
            		tabs $NAME
            	end
            	EOF
            COPY <<a.cfg <<"b.cfg" a.txt /dir/
            first $NAME
            a.cfg
            second $NAME
            b.cfg
            COPY --chown=app:staff --chmod=0640 <<EOF /owned
            x
            EOF
            ADD <<EOF /added
            added $NAME
            EOF
            COPY <<EOF /empty
            EOF
            WORKDIR /rel
            COPY <<EOF ./here
            here
            EOF
            """),
        new("heredoc-run", """
            FROM @BASE@
            ARG NAME=world
            RUN <<EOF
            echo "hello $NAME" > /one
            cat > /nested <<INNER
            inner $NAME
            INNER
            EOF
            RUN <<'EOF'
            echo "hello $NAME" > /two
            EOF
            RUN <<-EOF
            	echo "tabs" > /three
            	EOF
            RUN <<EOF
            #!/bin/sh -e
            echo "script $0" > /four
            EOF
            RUN cat <<EOF > /five
            five $NAME \$NAME
            EOF
            RUN cat <<'A' - <<B > /six
            six $NAME
            A
            not read
            B
            RUN <<EOF sh -s x
            echo "$1" > /seven
            EOF
            SHELL ["/bin/sh", "-x", "-c"]
            RUN <<EOF
            echo $- > /eight
            EOF
            """),
        new("copy-link", """
            FROM @BASE@ AS src
            RUN mkdir -p /s/d && echo 1 > /s/d/f && ln -s d /s/l && chown -R 5:6 /s
            FROM @BASE@
            RUN mkdir -p /dest/d && ln -s dest /via && chmod 700 /dest
            COPY --link a.txt /dest/
            COPY --link --from=src /s /dest/
            COPY --link --chown=7:8 dir /dest/d/
            COPY --link --chmod=600 a.txt /dest/moded
            COPY --link a.txt /via/through
            ADD --link t.tar /dest/tar/
            WORKDIR /w
            COPY --link b.txt sub/
            COPY --link=false b.txt sub2/
            """),
        new("copy-link-scratch", "FROM scratch\nCOPY --link a.txt /x/\nCOPY --link b.txt /x/\n"),
        new("add-zstd", "FROM @BASE@\nADD t.tar.zst /z/\n"),
        new("copy-symbolic-mode", """
            FROM @BASE@
            COPY --chmod=u=rwX,go=rX dir /d
            COPY --chmod=+x a.txt /x
            COPY --chmod=go-r a.txt /y
            COPY --chmod=a-w,u+s exec.sh /z
            """),
        new("run-network", """
            FROM @BASE@
            RUN --network=none ls /sys/class/net > /none
            RUN --network=default true
            """),
        new("secret-env", """
            FROM @BASE@
            RUN --mount=type=secret,id=s,env=TOKEN test -n "$TOKEN" && echo "${#TOKEN}" > /length
            RUN --mount=type=secret,id=s,env=TOKEN,target=/t test "$(cat /t)" = "$(echo $TOKEN)" && echo both > /both
            RUN --mount=type=secret,id=absent,env=NOPE echo "x${NOPE}x" > /absent
            """, "--secret", "id=s,env=PARITY_SECRET"),
        new("healthcheck-all", "FROM @BASE@\nHEALTHCHECK --interval=1m30s --timeout=3s --start-period=1500ms --start-interval=2s --retries=10 CMD x \\\n  y\n"),
        new("substitutions", """
            FROM @BASE@
            ENV V=foo.tar.gz P=/a/b/c.txt E=""
            ENV A=${V%.gz} B=${V%%.*} C=${P##*/} D=${P#*/} F=${V/o/0} G=${V//o/0} H=${E:-empty} I=${E-set} J=${E:+no} K=${E+yes} L=${U:+no}
            LABEL a=${V%.gz} b="${P##*/}"
            WORKDIR ${P%/*}
            COPY a.txt ${V//o/0}
            EXPOSE ${E:-8080}/udp
            VOLUME ${P%%/c*}
            USER ${E:-app}
            STOPSIGNAL ${E:-9}
            """),
        new("epoch", "FROM @BASE@\nRUN echo 1 > /f\nLABEL a=b\nCOPY a.txt /\n", "--opt", "build-arg:SOURCE_DATE_EPOCH=1700000000"),
        new("cache-mounts", """
            FROM @BASE@ AS seed
            RUN mkdir -p /seed/sub && echo seeded > /seed/sub/f
            FROM @BASE@
            RUN --mount=type=cache,target=/c,id=kept,uid=3,gid=4,mode=0711 stat -c '%a %u:%g' /c > /stat
            RUN --mount=type=cache,target=/c,from=seed,source=/seed cat /c/sub/f > /seeded; touch /c/new
            RUN --mount=type=cache,target=/ro,readonly touch /ro/x 2> /err; test -e /ro/x || echo refused > /refused
            RUN --mount=type=cache,target=rel,sharing=locked pwd > /pwd; ls -d /rel > /rel-there
            RUN --mount=type=tmpfs,target=/t,size=1m df /t | tail -1 | tr -s ' ' | cut -d' ' -f2 > /size 2>/dev/null; true
            """),
        new("target-case", "FROM @BASE@ AS Build\nRUN echo b > /b\nFROM scratch AS last\nCOPY --from=build /b /b2\n", "--opt", "target=BUILD"),
        new("hostname", "FROM @BASE@\nRUN hostname > /h; cat /etc/hosts | wc -l > /n\n", "--opt", "hostname=builder"),
        new("shm-ulimit", "FROM @BASE@\nRUN ulimit -n > /n; df /dev/shm | tail -1 | tr -s ' ' > /shm\n", "--opt", "shm-size=1048576", "--opt", "ulimit=nofile=100:200"),
        new("platform-args", """
            FROM --platform=$BUILDPLATFORM @BASE@ AS b
            ARG BUILDPLATFORM
            ARG TARGETPLATFORM
            ARG TARGETSTAGE
            RUN echo $BUILDPLATFORM $TARGETPLATFORM $TARGETSTAGE > /p
            FROM @BASE@
            COPY --from=b /p /p
            """, "--opt", "platform=linux/amd64"),
        new("add-multiple-heredoc-order", "FROM @BASE@\nCOPY <<z a.txt <<y /o/\nzz\nz\nyy\ny\n"),
        new("copy-symlinked-parent", """
            FROM @BASE@ AS a
            RUN mkdir -p /real/x && echo 1 > /real/x/f && ln -s /real /lnk && ln -s /real/x/f /flnk && ln -s ../../../etc/passwd /esc
            FROM @BASE@
            COPY --from=a /lnk/x /one
            COPY --from=a /lnk /two
            COPY --from=a /flnk /three
            COPY --from=a /esc /four
            COPY --from=a /l* /five/
            """),
        new("run-rootfs-changes", """
            FROM scratch
            COPY --from=@BASE@ /bin /bin
            RUN echo 1 > /f
            RUN ["/bin/busybox", "mkdir", "-p", "/etc"]
            RUN rm -f /f; mkdir -p /run/x
            """),
        new("onbuild-heredoc", """
            FROM @BASE@ AS p
            ONBUILD COPY <<EOF /o
            text
            EOF
            ONBUILD RUN <<EOF
            echo r > /r
            EOF
            FROM p
            """),
        new("volume-copy", "FROM @BASE@\nVOLUME /v\nRUN mkdir /v && echo 1 > /v/f\nCOPY a.txt /v/\n"),
        new("deep", """
            FROM @BASE@
            RUN mkdir -p /a/b/c/d && touch -d @1000000000 /a/b/c/d /a/b/c /a/b /a
            COPY a.txt /a/b/c/d/
            RUN rm /a/b/c/d/a.txt
            RUN mv /a/b /a/x
            RUN chmod 700 /a
            RUN touch -d @1100000000 /a/x
            """),
    ];

    /// <summary>All of them.</summary>
    public static IEnumerable<ParityCase> All => Classic.Concat(Newer);
}

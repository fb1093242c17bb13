#include "server/model_keeper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <new>

#include "absl/strings/str_cat.h"
#include "model/api/fake_encoder.h"
#include "tests/unit/server/load_metrics.h"
#include "tests/unit/server/temporary_folder.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kLongest = 1000;

// A model folder's file "model" is what its loading gives: "digest", "fail", "no memory", "long",
// "other name", or nothing if the file is missing. Loads are counted and can be held up.
class Loader {
 public:
  absl::StatusOr<std::unique_ptr<Encoder>> Load(const ModelOptions& options,
                                                const std::string& version) {
    std::string text;
    std::ifstream file(options.path + "/model");
    std::getline(file, text);
    {
      MutexLock lock(&mutex_);
      ++loads_;
      changed_.NotifyAll();
      while (held_) changed_.Wait(&mutex_);
    }
    if (text.empty() || text == "fail") return absl::InvalidArgumentError("not a model");
    if (text == "no memory") throw std::bad_alloc();
    FakeEncoderOptions fake;
    fake.info.version = version;
    fake.info.weights_digest = text;
    fake.info.max_tokens = text == "long" ? kLongest + 1 : kLongest;
    if (text == "other name") fake.info.model = text;
    return std::make_unique<FakeEncoder>(fake);
  }
  void Hold(bool held) {
    MutexLock lock(&mutex_);
    held_ = held;
    changed_.NotifyAll();
  }
  void AwaitLoads(int count) {
    MutexLock lock(&mutex_);
    while (loads_ < count) changed_.Wait(&mutex_);
  }
  int loads() {
    MutexLock lock(&mutex_);
    return loads_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  int loads_ ABSL_GUARDED_BY(mutex_) = 0;
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
};

class ModelKeeperTest : public ::testing::Test {
 protected:
  ModelKeeperTest() {
    source_.configure = [](const ModelOptions& options) -> absl::StatusOr<int64_t> {
      std::ifstream file(options.path + "/tokens");
      int64_t tokens = 0;
      if (!(file >> tokens)) return absl::InvalidArgumentError(options.path + ": no tokens");
      return tokens;
    };
    source_.load = [this](const ModelOptions& options, const std::string& version, ServiceMetrics*,
                          Logger*) { return loader_.Load(options, version); };
  }
  ~ModelKeeperTest() override { loader_.Hold(false); }

  // In one step, as operators should: a look may be under way.
  void Version(int number, const std::string& text) {
    const std::string name = absl::StrCat(number);
    if (std::filesystem::exists(folder_.path() + "/" + name)) {
      Replace(name + "/model", text);
    } else {
      staging_.Write(name + "/model", text);
      staging_.MoveTo(folder_, name);
    }
  }
  void Replace(const std::string& name, const std::string& text) {
    staging_.Write(name, text);
    staging_.MoveTo(folder_, name);
  }
  ModelKeeper& Make() {
    keeper_.emplace(ModelOptions{.path = folder_.path()}, kLongest, &source_, &clock_, &metrics_,
                    &log_);
    return *keeper_;
  }
  void Start() {
    ASSERT_TRUE(Make().LoadFirst().ok());
    keeper_->Watch(
        [this](std::shared_ptr<ServedModel> model) {
          MutexLock lock(&mutex_);
          if (leaving_) return false;
          switched_.push_back(model->encoder->Info().version);
          changed_.NotifyAll();
          return true;
        },
        [this](std::vector<UnservedVersion> versions) {
          MutexLock lock(&mutex_);
          published_ = std::move(versions);
          ++publications_;
          changed_.NotifyAll();
        });
  }
  // The first load is the first result.
  void LookAndAwaitResults(size_t results) {
    keeper_->Look();
    metrics_.AwaitResults(results);
  }
  std::string serving() { return keeper_->current()->encoder->Info().version; }
  std::vector<std::string> switched() {
    MutexLock lock(&mutex_);
    return switched_;
  }
  void AwaitSwitched(size_t count) {
    MutexLock lock(&mutex_);
    while (switched_.size() < count) changed_.Wait(&mutex_);
  }
  // Waits until these are published: "3 failed", "4 loading".
  void AwaitPublished(const std::vector<std::string>& wanted) {
    MutexLock lock(&mutex_);
    while (true) {
      std::vector<std::string> now;
      for (const UnservedVersion& version : published_) {
        now.push_back(version.version + (version.failed ? " failed" : " loading"));
      }
      if (publications_ > 0 && now == wanted) return;
      changed_.Wait(&mutex_);
    }
  }

  const SteadyClock clock_;
  const TemporaryFolder folder_;
  const TemporaryFolder staging_;
  Loader loader_;
  EncoderSource source_;
  LoadMetrics metrics_;
  Logger log_{{.level = LogLevel::kError, .fd = STDERR_FILENO}};
  Mutex mutex_;
  CondVar changed_;
  bool leaving_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::string> switched_ ABSL_GUARDED_BY(mutex_);
  std::vector<UnservedVersion> published_ ABSL_GUARDED_BY(mutex_);
  int publications_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<ModelKeeper> keeper_;
};

TEST_F(ModelKeeperTest, ThePortIsForTheLongestOfAllVersions) {
  folder_.Write("1/tokens", "500");
  folder_.Write("2/tokens", "300");
  folder_.Write("3/tokens", "half a fi");
  const auto longest = ConfigureModel({.path = folder_.path()}, source_);
  ASSERT_TRUE(longest.ok()) << longest.status();
  EXPECT_EQ(*longest, 500);
  folder_.Remove("1");
  folder_.Remove("2");
  folder_.Write("0/model", "");
  const auto none = ConfigureModel({.path = folder_.path()}, source_);
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("/3: no tokens"));
}

TEST_F(ModelKeeperTest, TheHighestThatLoadsIsServedFirst) {
  Version(1, "a");
  Version(2, "b");
  Version(3, "fail");
  ASSERT_TRUE(Make().LoadFirst().ok());
  EXPECT_EQ(serving(), "2");
  EXPECT_THAT(metrics_.results(), ElementsAre("failed", "ok"));
}

TEST_F(ModelKeeperTest, WithoutAGoodVersionTheHighestsProblemIsTold) {
  Version(1, "no memory");
  Version(2, "fail");
  EXPECT_THAT(std::string(Make().LoadFirst().message()), HasSubstr("not a model"));
}

TEST_F(ModelKeeperTest, APlainFolderIsReadAgainIfItHasChanged) {
  folder_.Write("config.json", "{}");
  folder_.Write("model", "a");
  Start();
  EXPECT_EQ(keeper_->current()->encoder->Info().weights_digest, "a");
  Replace("model", "b");
  LookAndAwaitResults(2);
  Replace("config.json", "{ }");  // the same model in other files
  LookAndAwaitResults(3);
  EXPECT_THAT(metrics_.results(), ElementsAre("ok", "ok", "unchanged"));
  EXPECT_EQ(keeper_->current()->encoder->Info().weights_digest, "b");
}

TEST_F(ModelKeeperTest, AHigherVersionIsSwitchedToAndItsRemovalGoesBack) {
  Version(1, "a");
  Start();
  Version(2, "b");
  LookAndAwaitResults(2);
  EXPECT_EQ(serving(), "2");
  folder_.MoveTo(staging_, "2");
  keeper_->Look();
  AwaitSwitched(2);
  EXPECT_THAT(switched(), ElementsAre("2", "1"));
}

TEST_F(ModelKeeperTest, AVersionThatFailsIsTriedAgainOnlyWhenItHasChanged) {
  Version(1, "a");
  Start();
  Version(2, "fail");
  LookAndAwaitResults(2);
  AwaitPublished({"2 failed"});
  for (int i = 0; i < 100; ++i) keeper_->Look();
  Version(3, "no memory");
  LookAndAwaitResults(3);
  AwaitPublished({"2 failed", "3 failed"});
  EXPECT_THAT(switched(), IsEmpty());
  EXPECT_EQ(serving(), "1");
  EXPECT_EQ(loader_.loads(), 3);
  Version(2, "b");
  LookAndAwaitResults(4);
  AwaitPublished({"3 failed"});
  EXPECT_EQ(serving(), "2");
  EXPECT_THAT(metrics_.results(), ElementsAre("ok", "failed", "failed", "ok"));
}

TEST_F(ModelKeeperTest, WhatThisProcessCannotServeIsRefused) {
  Version(1, "a");
  Start();
  Version(2, "long");
  LookAndAwaitResults(2);
  Version(3, "other name");
  LookAndAwaitResults(3);
  EXPECT_THAT(metrics_.results(), ElementsAre("ok", "refused", "refused"));
  EXPECT_EQ(serving(), "1");
}

TEST_F(ModelKeeperTest, AStormOfLooksIsOneLook) {
  Version(1, "a");
  Start();
  loader_.Hold(true);
  Version(2, "b");
  keeper_->Look();
  loader_.AwaitLoads(2);
  AwaitPublished({"2 loading"});
  for (int i = 0; i < 1000; ++i) keeper_->Look();
  loader_.Hold(false);
  metrics_.AwaitResults(2);
  Version(3, "c");
  LookAndAwaitResults(3);
  EXPECT_EQ(loader_.loads(), 3);
  EXPECT_THAT(switched(), ElementsAre("2", "3"));
}

TEST_F(ModelKeeperTest, StopTellsWhetherALoadIsUnderWay) {
  Version(1, "a");
  Start();
  loader_.Hold(true);
  Version(2, "b");
  keeper_->Look();
  loader_.AwaitLoads(2);
  EXPECT_FALSE(keeper_->Stop());
  {
    MutexLock lock(&mutex_);
    leaving_ = true;
  }
  loader_.Hold(false);
  keeper_.reset();  // joins
  EXPECT_THAT(switched(), IsEmpty());
  EXPECT_THAT(metrics_.results(), ElementsAre("ok"));
}

TEST_F(ModelKeeperTest, AModelIsFreedWhenItsLastCallHasEnded) {
  Version(1, "a");
  Start();
  std::shared_ptr<ServedModel> call = keeper_->current();
  const std::weak_ptr<Encoder> old = call->encoder;
  Version(2, "b");
  LookAndAwaitResults(2);
  keeper_->FreeReleased();
  EXPECT_FALSE(old.expired()) << "a call has it";
  call.reset();
  EXPECT_FALSE(old.expired()) << "not on the call's thread";
  keeper_->FreeReleased();
  EXPECT_TRUE(old.expired());
}

TEST_F(ModelKeeperTest, AModelMayOutliveTheKeeper) {
  Version(1, "a");
  Start();
  std::shared_ptr<ServedModel> call = keeper_->current();
  const std::weak_ptr<Encoder> encoder = call->encoder;
  keeper_.reset();
  EXPECT_FALSE(encoder.expired());
  call.reset();
  EXPECT_TRUE(encoder.expired());
}

}  // namespace
}  // namespace longwave
